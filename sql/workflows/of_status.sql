-- The company's workflows of a status, newest first.
-- $1 status   $2 limit   $3 skip
select id, name, description, status, trigger, actions_count, executions_count, last_run, created_at, actions, conditions, schedule,
  max_executions, next_run, owner_id
from workflow_card
where not is_deleted and status = $1
-- cursor: and (created_at, id) < ($4, $5)
order by created_at desc, id desc
limit $2 offset $3
