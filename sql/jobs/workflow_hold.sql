-- Locks a run that is still at this attempt of this step until the transaction ends.
-- $1 execution   $2 position   $3 attempt
select x.id from workflow_executions x join workflow_steps s on s.execution_id = x.id and s.position = x.next_step
where x.id = $1 and x.next_step = $2 and x.status = 'running' and s.status = 'running' and s.attempts = $3
for update of x
