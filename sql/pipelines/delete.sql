-- Deletes a pipeline without deals; no row when there is none.
-- $1 pipeline id
select id, name, description, is_default, order_index, company_id, is_active, is_deleted, created_at, updated_at
from pipelines where id = (select app.delete_pipeline($1))
