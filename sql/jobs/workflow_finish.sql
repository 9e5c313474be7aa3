-- Closes a run, and the step in which it waited.   $1 execution   $2 status   $3 why it failed, or null
with job as (
  delete from jobs where kind = 'workflow_run' and record_id = $1
), closed as (
  update workflow_steps set status = 'failed', error_message = left(concat($3::text, case status when 'running' then ': it may have been done' end), 500),
    completed_at = clock_timestamp()
  where execution_id = $1 and status in ('running', 'waiting', 'retrying')
  returning id
)
update workflow_executions set status = $2, error_message = left($3, 500), failure_count = failure_count + (select count(*) from closed),
  at_event = null, completed_at = clock_timestamp()
where id = $1
returning id
