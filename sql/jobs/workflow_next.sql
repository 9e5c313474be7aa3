-- Sets when a workflow is checked again, even if its job was given up meanwhile.
-- $1 job   $2 workflow   $3 when   $4 when it runs by its cron expression, or null
with workflow as (
  update workflows set next_run_at = $4 where id = $2
)
update jobs set run_at = $3, attempts = 0, failed_at = null, last_error = null where id = $1 returning id
