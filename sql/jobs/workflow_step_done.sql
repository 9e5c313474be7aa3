-- Closes a step, and the run with its last one.
-- $1 execution   $2 position   $3 action   $4 success, failed or skipped   $5 input   $6 result   $7 error, or null
-- $8 whether it is the last
with step as (
  insert into workflow_steps as s (execution_id, position, action, status, input, result, error_message, completed_at)
  values ($1, $2, $3, $4, $5, $6, left($7, 500), clock_timestamp())
  on conflict (tenant_id, execution_id, position) do update set status = $4, input = case when $5::jsonb = '{}' then s.input else $5 end, result = $6,
    error_message = left($7, 500), completed_at = clock_timestamp()
), run as (
  update workflow_executions set next_step = $2 + 1, success_count = success_count + ($4 = 'success')::int,
    failure_count = failure_count + ($4 = 'failed')::int,
    status = case when not $8 then 'running' when failure_count + ($4 = 'failed')::int > 0 then 'partial' else 'success' end,
    completed_at = case when $8 then clock_timestamp() end
  where id = $1
), job as (
  delete from jobs where $8 and kind = 'workflow_run' and record_id = $1
)
select $1::uuid as id
