-- $1 stage id   $2 the columns to change
update pipeline_stages s set updated_at = now(), (name, description, probability, is_closed, is_won) = (
  select n.name, n.description, n.probability, n.is_closed, n.is_won from jsonb_populate_record(s, $2) n)
where s.id = $1 and not s.is_deleted and exists (select from pipelines p where p.id = s.pipeline_id and not p.is_deleted)
returning id, pipeline_id, name, description, order_index, probability, is_closed, is_won, is_active, is_deleted, created_at, updated_at
