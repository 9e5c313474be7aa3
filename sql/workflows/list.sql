-- The company's workflows, newest first.
-- $1 limit   $2 skip
select id, name, description, status, trigger, actions_count, executions_count, last_run, created_at, actions, conditions, schedule,
  max_executions, next_run, owner_id
from workflow_card
where not is_deleted
-- cursor: and (created_at, id) < ($3, $4)
order by created_at desc, id desc
limit $1 offset $2
