-- The engine itself failed at a run; after the fifth time the run is given up.   $1 execution   $2 why
with run as (
  update workflow_executions set error_count = error_count + 1, error_message = left($2, 500),
    status = case when error_count >= 4 then 'failed' else status end, completed_at = case when error_count >= 4 then clock_timestamp() end
  where id = $1 and status = 'running'
  returning status
), job as (
  delete from jobs where kind = 'workflow_run' and record_id = $1 and exists (select from run where status = 'failed')
)
select status from run
