-- The engine itself failed at a run; the fifth time, the run is given up with its current step.   $1 execution   $2 why
with held as (
  -- Locked first: a worker that continues a run locks it before its steps.
  select id, error_count >= 4 as is_last from workflow_executions where id = $1 and status = 'running' for update
), closed as (
  update workflow_steps set status = 'failed', error_message = left(concat($2::text, case status when 'running' then ': it may have been done' end), 500),
    completed_at = clock_timestamp()
  where execution_id in (select id from held where is_last) and status in ('running', 'waiting', 'retrying')
  returning id
), job as (
  delete from jobs where kind = 'workflow_run' and record_id in (select id from held where is_last)
)
update workflow_executions x set error_count = error_count + 1, error_message = left($2, 500), failure_count = failure_count + (select count(*) from closed),
  status = case when h.is_last then 'failed' else x.status end, completed_at = case when h.is_last then clock_timestamp() end
from held h where x.id = h.id
returning x.status
