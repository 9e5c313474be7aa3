-- Locks an unfinished run until the transaction ends, and reads all that its next step needs. A run made by an older
-- program uses the workflow's actions as they are when it begins. Its conditions see the records as they were at the
-- event, if that was kept; everything else sees them as they are.   $1 execution
select x.workflow_id, x.company_id, x.event, x.trigger_data, x.is_manual, x.actions is not null as is_begun,
  coalesce(x.actions, x.plan) is null and x.event <> w.trigger as is_lost, coalesce(x.actions, x.plan, w.actions) as actions,
  x.next_step, w.name, w.status as workflow_status, w.is_deleted, coalesce(x.conditions, w.conditions) as conditions, w.max_executions,
  k.context, k.context || x.at_event as context_at_event, s.id as step_id, s.status as step_status,
  s.started_at as step_started_at, now() as now, coalesce(s.attempts, 0) as attempts
from workflow_executions x
join workflows w on w.id = x.workflow_id
-- Evaluated once for both columns.
cross join lateral (select app.workflow_context(x.event, x.record_id) as context offset 0) k
left join workflow_steps s on s.execution_id = x.id and s.position = x.next_step
where x.id = $1 and x.status = 'running'
for update of x
