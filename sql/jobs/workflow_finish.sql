-- Closes a run.   $1 execution   $2 status   $3 why it failed, or null
with job as (
  delete from jobs where kind = 'workflow_run' and record_id = $1
)
update workflow_executions set status = $2, error_message = left($3, 500), completed_at = clock_timestamp() where id = $1 returning id
