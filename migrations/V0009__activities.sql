-- Activities (contract: activities) and the jobs that remind of them.
set role ringfence_owner;

-- Work that is done later, in the company of its row. `run_at` is when it may be claimed; a claim moves it on, so that a
-- job whose worker died comes back by itself. Done jobs are deleted by the statement that does their work.
create table jobs (
  id         uuid primary key default app.uuid_v7(),
  tenant_id  uuid not null,
  company_id uuid,
  user_id    uuid not null,  -- in whose name it runs
  kind       text not null,  -- a name in src/jobs/mod.rs
  record_id  uuid not null,  -- what it is about
  run_at     timestamptz not null default now(),
  attempts   int not null default 0,
  failed_at  timestamptz,    -- given up; the reason is last_error
  last_error text,
  created_at timestamptz not null default now(),
  constraint jobs_record_key unique (tenant_id, kind, record_id)
);
-- The queue: across companies, for app.claim_jobs only.
create index jobs_due on jobs (run_at) where failed_at is null;
select app.protect('jobs', 'user_id');
grant select, update (run_at, attempts, failed_at, last_error) on jobs to ringfence_platform;

-- Takes jobs that are due for five minutes.
create function app.claim_jobs(kinds text[], "limit" int)
  returns table (id uuid, company_id uuid, user_id uuid, kind text, record_id uuid, attempts int) language sql
  security definer set search_path = pg_catalog, pg_temp
  begin atomic
    update public.jobs j set run_at = now() + interval '5 minutes', attempts = j.attempts + 1
    where j.id in (select d.id from public.jobs d where d.run_at <= now() and d.failed_at is null and d.kind = any ($1)
      order by d.run_at limit $2 for update skip locked)
    returning j.id, j.company_id, j.user_id, j.kind, j.record_id, j.attempts;
  end;

-- Puts a job back, later each time, and gives it up after ten attempts. What waits for a suspended company is asked for
-- again every hour and never given up.
create function app.retry_job(id uuid, error text) returns void language sql security definer set search_path = pg_catalog, pg_temp
  begin atomic
    update public.jobs j set last_error = left($2, 500),
      attempts = j.attempts - c.blocked::int,
      run_at = now() + case when c.blocked then interval '1 hour' else interval '10 seconds' * power(2, j.attempts) end,
      failed_at = case when j.attempts >= 10 and not c.blocked then now() end
    from (select x.id, app.is_blocked(x.status, x.subscription_status) as blocked from public.companies x) c
    where j.id = $1 and c.id = j.company_id;
  end;

create table activities (
  id               uuid primary key default app.uuid_v7(),
  tenant_id        uuid not null,
  company_id       uuid,
  owner_id         uuid not null,
  type             text not null check (type in ('call', 'email', 'meeting', 'task', 'note', 'deadline')),
  subject          text not null check (length(subject) <= 255),
  description      text,
  status           text not null default 'pending' check (status in ('pending', 'completed', 'overdue', 'cancelled')),
  due_date         timestamptz,
  completed_at     timestamptz,
  duration_minutes int,
  contact_id       uuid,
  deal_id          uuid,
  location         text check (length(location) <= 255),
  outcome          text check (length(outcome) <= 500),
  priority         int not null default 0,  -- 0 low, 1 medium, 2 high
  custom_fields    jsonb not null default '{}' check (jsonb_typeof(custom_fields) = 'object'),
  created_at       timestamptz not null default now(),
  updated_at       timestamptz not null default now(),
  constraint activities_contact_fkey foreign key (tenant_id, contact_id) references contacts (tenant_id, id)
    on delete set null (contact_id) deferrable initially immediate,
  constraint activities_deal_fkey foreign key (tenant_id, deal_id) references deals (tenant_id, id)
    on delete set null (deal_id) deferrable initially immediate
);
create index activities_feed on activities (tenant_id, due_date, created_at, id) include (company_id, owner_id);
create index activities_contact on activities (tenant_id, contact_id, due_date, created_at, id);
create index activities_deal on activities (tenant_id, deal_id, due_date, created_at, id);
create index activities_subject on activities (tenant_id, owner_id, subject);
select app.protect('activities', 'owner_id');

create function app.keep_activity() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  new.completed_at := case when new.status = 'completed' then coalesce(new.completed_at, now()) end;
  return new;
end $$;
create trigger completion before insert or update on activities for each row execute function app.keep_activity();

-- Completing fires its event; an open activity with a time has a job that reminds its owner, and no other has one. What
-- was due for more than a day when it was entered is history and no reason to remind.
create function app.follow_activity() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  was public.activities;
begin
  if tg_op = 'UPDATE' then
    was := old;
  end if;
  if new.status = 'completed' and was.status is distinct from 'completed' then
    perform app.fire('activity_completed', new.id, '{}');
  end if;
  if new.status not in ('pending', 'overdue') or new.due_date is null or new.due_date < now() - interval '1 day' then
    delete from public.jobs j where j.kind = 'activity_due' and j.record_id = new.id;
  elsif new.due_date is distinct from was.due_date or was.status not in ('pending', 'overdue') then
    insert into public.jobs as j (tenant_id, company_id, user_id, kind, record_id, run_at)
    values (new.tenant_id, new.company_id, new.owner_id, 'activity_due', new.id, new.due_date)
    on conflict on constraint jobs_record_key do update set run_at = excluded.run_at, attempts = 0, failed_at = null, last_error = null;
  end if;
  return null;
end $$;
create trigger follow after insert or update of due_date, status on activities for each row
  when (new.company_id is not null) execute function app.follow_activity();

create function app.forget_activity() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  delete from public.jobs j where j.kind = 'activity_due' and j.record_id = old.id and j.tenant_id = old.tenant_id;
  return null;
end $$;
create trigger forget after delete on activities for each row when (old.company_id is not null) execute function app.forget_activity();

-- The same subject for the same time is entered once by an owner (contract: activities).
create function app.new_activity_subject(subject text, due_date timestamptz) returns text language plpgsql as $$
begin
  perform app.lock_name('activity', concat_ws(' ', app.user_id(), subject));
  if exists (select from public.activities a where a.owner_id = app.user_id() and a.subject = $1 and a.due_date is not distinct from $2) then
    raise sqlstate 'RF400' using message = 'An activity with this subject and due date already exists';
  end if;
  return subject;
end $$;
grant execute on function app.new_activity_subject(text, timestamptz) to ringfence_api;

reset role;
alter function app.claim_jobs(text[], int) owner to ringfence_platform;
alter function app.retry_job(uuid, text) owner to ringfence_platform;
grant execute on function app.claim_jobs(text[], int), app.retry_job(uuid, text) to ringfence_api;
