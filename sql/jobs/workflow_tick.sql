-- Starts the run of a workflow that is due.   $1 workflow
with run as (
  insert into workflow_executions (workflow_id, user_id, event, trigger_data, plan, conditions)
  select id, owner_id, 'scheduled', jsonb_build_object('event', 'scheduled'), actions, conditions from workflows where id = $1
  returning id, user_id
)
insert into jobs (user_id, kind, record_id) select user_id, 'workflow_run', id from run
returning id
