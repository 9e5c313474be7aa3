-- Locks the stages in one order first, so that two who do it at once wait for each other and not both.
-- $1 pipeline id   $2 a list of {"id", "order_index"}
with locked as materialized (
  select s.id from pipeline_stages s where s.pipeline_id = $1 and not s.is_deleted order by s.id for no key update
)
update pipeline_stages s set order_index = g.order_index, updated_at = now()
from locked l join jsonb_to_recordset($2) as g (id uuid, order_index int) on g.id = l.id
where s.id = l.id
returning s.id
