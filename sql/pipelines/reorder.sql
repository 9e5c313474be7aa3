-- $1 pipeline id   $2 a list of {"id", "order_index"}
update pipeline_stages s set order_index = g.order_index, updated_at = now()
from jsonb_to_recordset($2) as g (id uuid, order_index int)
where s.id = g.id and s.pipeline_id = $1 and not s.is_deleted
returning s.id
