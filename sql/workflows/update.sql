-- $1 workflow id   $2 the columns to change
update workflows w set updated_at = now(), (name, description, trigger, status, actions, conditions, schedule, max_executions) = (
  select n.name, n.description, n.trigger, n.status, n.actions, n.conditions, n.schedule, n.max_executions from jsonb_populate_record(w, $2) n)
where w.id = $1 and not w.is_deleted
returning id
