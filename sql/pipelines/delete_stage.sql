-- Deletes a stage without deals; no row when there is none.
-- $1 stage id
select id, pipeline_id, name, description, order_index, probability, is_closed, is_won, is_active, is_deleted, created_at, updated_at
from pipeline_stages where id = (
  select app.delete_stage(s.id) from pipeline_stages s join pipelines p on p.id = s.pipeline_id and not p.is_deleted where s.id = $1)
