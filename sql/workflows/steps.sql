-- The steps of a run, in order.   $1 execution id
select position, action as type, status, attempts, input, result, error_message, started_at, completed_at
from workflow_steps
where execution_id = $1
order by position
