-- What is due at no time has no job. The import and operators at psql may bring such rows, which were refused for their job.
set role ringfence_platform;
delete from jobs where not isfinite(run_at);
reset role;

set role ringfence_owner;
alter table jobs validate constraint jobs_run_at_is_finite;

create or replace function app.follow_activity() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  was public.activities;
begin
  if tg_op = 'UPDATE' then
    was := old;
  end if;
  if new.status = 'completed' and was.status is distinct from 'completed' then
    perform app.fire('activity_completed', new.id, '{}');
  end if;
  if new.status not in ('pending', 'overdue') or isfinite(new.due_date) is not true or new.due_date < now() - interval '1 day' then
    delete from public.jobs j where j.tenant_id = new.tenant_id and j.kind = 'activity_due' and j.record_id = new.id;
  elsif new.due_date is distinct from was.due_date or was.status not in ('pending', 'overdue') then
    insert into public.jobs as j (tenant_id, company_id, user_id, kind, record_id, run_at)
    values (new.tenant_id, new.company_id, new.owner_id, 'activity_due', new.id, new.due_date)
    on conflict on constraint jobs_record_key do update set run_at = excluded.run_at, attempts = 0, failed_at = null, last_error = null;
  end if;
  return null;
end $$;

create or replace function app.follow_scheduled_sms() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if tg_op = 'INSERT' and not new.is_sent and not new.is_cancelled then
    insert into public.jobs (tenant_id, company_id, user_id, kind, record_id, run_at)
    select new.tenant_id, new.company_id, new.user_id, 'scheduled_sms', new.id, new.scheduled_at where isfinite(new.scheduled_at);
  elsif new.is_sent or new.is_cancelled then
    delete from public.jobs j where j.tenant_id = new.tenant_id and j.kind = 'scheduled_sms' and j.record_id = new.id;
  end if;
  return null;
end $$;

reset role;
