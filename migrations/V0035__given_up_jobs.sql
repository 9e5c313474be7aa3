-- What a job that is given up leaves behind: its record says so, instead of waiting for ever.
set role ringfence_owner;

grant select (status), update (status, error_message, updated_at) on campaigns to ringfence_platform;
grant select (campaign_id, state), update (state, error_message) on campaign_recipients to ringfence_platform;
grant select (status, failure_count), update (status, error_message, failure_count, completed_at) on workflow_executions to ringfence_platform;
grant select (execution_id, status), update (status, error_message, completed_at) on workflow_steps to ringfence_platform;
grant select (is_sent, is_cancelled), update (is_cancelled, error_message, updated_at) on scheduled_sms to ringfence_platform;

create function app.keep_given_up() returns trigger language plpgsql
  security definer set search_path = pg_catalog, pg_temp set row_security = on as $$
declare
  why constant text := 'Given up: it was tried ten times and failed each time for an internal reason';
  closed int;
begin
  if new.kind = 'campaign' then
    update public.campaign_recipients r set state = 'failed', error_message = 'The server stopped while it was sent: it may have arrived'
    where r.tenant_id = new.tenant_id and r.campaign_id = new.record_id and r.state = 'sending';
    update public.campaigns c set status = 'failed', error_message = why, updated_at = now()
    where c.tenant_id = new.tenant_id and c.id = new.record_id and c.status in ('scheduled', 'sending');
  elsif new.kind = 'workflow_run' then
    update public.workflow_steps s set status = 'failed', error_message = why, completed_at = clock_timestamp()
    where s.tenant_id = new.tenant_id and s.execution_id = new.record_id and s.status in ('running', 'waiting', 'retrying');
    get diagnostics closed = row_count;
    update public.workflow_executions x set status = 'failed', error_message = why, failure_count = x.failure_count + closed,
      completed_at = clock_timestamp()
    where x.tenant_id = new.tenant_id and x.id = new.record_id and x.status = 'running';
  elsif new.kind = 'scheduled_sms' then
    update public.scheduled_sms s set is_cancelled = true, error_message = why, updated_at = now()
    where s.tenant_id = new.tenant_id and s.id = new.record_id and not s.is_sent and not s.is_cancelled;
  end if;
  return null;
end $$;
create trigger given_up after update of failed_at on jobs for each row
  when (old.failed_at is null and new.failed_at is not null) execute function app.keep_given_up();

reset role;
alter function app.keep_given_up() owner to ringfence_platform;

-- Those that were given up before: the next claim gives them up again.
set role ringfence_platform;
update jobs set failed_at = null where failed_at is not null and kind in ('campaign', 'workflow_run', 'scheduled_sms');
reset role;
