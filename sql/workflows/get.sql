-- $1 workflow id
select id, name, description, status, trigger, actions_count, executions_count, last_run, created_at, actions, conditions, schedule,
  max_executions, next_run, owner_id
from workflow_card where id = $1 and not is_deleted
