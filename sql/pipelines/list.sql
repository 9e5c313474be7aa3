-- The company's pipelines, followed by the caller's historical ones. The frontend takes the first one as the default.
select id, name, description, is_default, order_index, company_id, is_active, is_deleted, created_at, updated_at
from pipelines
where not is_deleted
order by company_id is null, is_default desc, order_index, created_at, id
