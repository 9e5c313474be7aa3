-- Records that a step is being done, waits or is to be retried. No row if another worker has begun it since: a
-- transaction that waited for the run's lock sees the steps as they were before.
-- $1 execution   $2 position   $3 action   $4 status   $5 input
-- $6 when the run goes on, if this worker does not finish it   $7 how often it was begun, as far as is known
with job as (
  update jobs set run_at = coalesce($6, now() + interval '5 minutes'), attempts = 0 where kind = 'workflow_run' and record_id = $1
)
insert into workflow_steps as s (execution_id, position, action, status, input, attempts) values ($1, $2, $3, $4, $5, ($4 = 'running')::int)
on conflict (tenant_id, execution_id, position) do update set status = $4, input = $5, attempts = s.attempts + ($4 = 'running')::int,
  made_in = pg_current_xact_id()
where s.attempts = $7
returning id
