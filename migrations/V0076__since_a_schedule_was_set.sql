-- Times of a schedule that come before it is first looked at, or in a company's new time zone; and what a transaction of another
-- server has done.
set role ringfence_owner;

alter table workflows add column schedule_set_at timestamptz default now();  -- from when times count that no worker has looked at

-- As in V0017, with when that was.
create or replace function app.keep_schedule() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if new.schedule is distinct from old.schedule or new.trigger <> old.trigger or new.status <> old.status then
    new.next_run_at := null;
    new.schedule_set_at := now();
  end if;
  return new;
end $$;

-- A cron expression without a zone is told by the company's. A time that has come already, and was not looked at yet, stays.
create function app.move_schedules() returns trigger language plpgsql
  security definer set search_path = pg_catalog, pg_temp set row_security = on as $$
begin
  -- In any case each row is held: a worker may be at it, who counts by the old zone.
  with moved as (
    update public.workflows w set next_run_at = case when w.next_run_at <= now() then w.next_run_at end,
      schedule_set_at = case when w.next_run_at > now() then now() else w.schedule_set_at end
    where w.tenant_id = new.id and w.company_id is not null and w.trigger = 'scheduled' and w.status = 'active' and not w.is_deleted
      and w.schedule ? 'cron' and w.schedule ->> 'timezone' is null
    returning w.tenant_id, w.id
  )
  update public.jobs j set run_at = now(), attempts = 0, failed_at = null, last_error = null
  from moved m where j.tenant_id = m.tenant_id and j.kind = 'workflow_schedule' and j.record_id = m.id;
  return null;
end $$;
create trigger schedules after update of timezone on companies for each row
  when (new.timezone is distinct from old.timezone) execute function app.move_schedules();
grant select (trigger, status, is_deleted, schedule, next_run_at, schedule_set_at), update (next_run_at, schedule_set_at) on workflows
  to ringfence_platform;

-- As in V0047, but the step is one that is being done: a transaction of the server that this database was copied from may have had
-- the same number.
create or replace function app.fire_all(event text, record_ids uuid[], details jsonb[]) returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
  deep int;
  root uuid;
  stopped text;
begin
  if not pg_has_role(session_user, 'ringfence_api', 'member') or not exists (select from public.workflows w
      where w.tenant_id = app.company_id() and w.trigger = $1 and w.status = 'active' and not w.is_deleted and w.company_id is not null) then
    return;
  end if;
  select x.depth + 1, coalesce(x.root_id, x.id) into deep, root
  from public.workflow_steps s join public.workflow_executions x on x.id = s.execution_id
  where s.tenant_id = app.company_id() and s.made_in = pg_current_xact_id_if_assigned()
    and s.status = 'running' and x.status = 'running'
  order by x.depth desc limit 1;
  deep := coalesce(deep, 0);
  stopped := case when deep > 5 then 'Stopped: workflows have started each other more than 5 times in a row'
    when (select count(*) from (select from public.workflow_executions x where x.tenant_id = app.company_id() and x.root_id = root limit 1000) led) = 1000
    then 'Stopped: one event has led to more than 1000 runs' end;
  with event as (
    insert into public.workflow_events (event, record_id, details, depth)
    select $1, r.record_id, r.details, deep from unnest($2, $3) as r (record_id, details)
    returning id, record_id, details
  ), run as (
    insert into public.workflow_executions (user_id, workflow_id, event_id, event, record_id, trigger_data, depth, root_id, status, error_message,
      completed_at)
    select w.owner_id, w.id, e.id, $1, e.record_id,
      jsonb_build_object('event', $1, 'record_id', e.record_id, app.record_kind($1) || '_id', e.record_id) || e.details, deep,
      coalesce(root, e.id), case when stopped is null then 'running' else 'failed' end, stopped, case when stopped is not null then now() end
    from event e, public.workflows w
    where w.tenant_id = app.company_id() and w.trigger = $1 and w.status = 'active' and not w.is_deleted and w.company_id is not null
    returning id, user_id, status
  )
  insert into public.jobs (user_id, kind, record_id) select r.user_id, 'workflow_run', r.id from run r where r.status = 'running';
end $$;

reset role;
alter function app.move_schedules() owner to ringfence_platform;
