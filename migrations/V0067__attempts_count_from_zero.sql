-- As in V0009, but for the count: a job that was asked for anew while its company was suspended had less than none, and the next
-- claim of it did not look like one.
create or replace function app.retry_job(id uuid, error text) returns void language sql security definer set search_path = pg_catalog, pg_temp
  begin atomic
    update public.jobs j set last_error = left($2, 500),
      attempts = greatest(j.attempts - c.blocked::int, 0),
      run_at = now() + case when c.blocked then interval '1 hour' else interval '10 seconds' * power(2, j.attempts) end,
      failed_at = case when j.attempts >= 10 and not c.blocked then now() end
    from (select x.id, app.is_blocked(x.status, x.subscription_status) as blocked from public.companies x) c
    where j.id = $1 and c.id = j.company_id;
  end;
