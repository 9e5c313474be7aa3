-- A run that is still at this step, held until the transaction ends.   $1 execution   $2 position
select id from workflow_executions where id = $1 and next_step = $2 and status = 'running' for update
