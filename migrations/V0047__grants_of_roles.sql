-- A grant is a role's and not a name's: roles are the cluster's, so whoever is removed by way of one database may be followed
-- there by somebody else of that name, who must not have what this database granted. The name counts, too: a copy of the
-- database may be on a server where another role has that oid.
set role ringfence_owner;

-- 0 is of no role.
alter table app.operator_grant add column role_oid oid not null default 0;
alter table app.operator_choice add column role_oid oid not null default 0;

grant update (role_oid) on app.operator_grant, app.operator_choice to ringfence_platform;
reset role;
set role ringfence_platform;
update app.operator_grant g set role_oid = r.oid from pg_roles r where r.rolname = g.db_role;
update app.operator_choice c set role_oid = r.oid from pg_roles r where r.rolname = c.db_role;
reset role;
set role ringfence_owner;
revoke update (role_oid) on app.operator_grant, app.operator_choice from ringfence_platform;
reset role;

create or replace function app.operator_company() returns uuid language sql stable parallel safe
  security definer set search_path = pg_catalog, pg_temp
  begin atomic
    select g.company_id from app.operator_grant g
    where g.db_role = session_user and g.role_oid = to_regrole(quote_ident(session_user))
      and (not exists (select from app.operator_grant o
          where o.db_role = session_user and o.role_oid = g.role_oid and o.company_id <> g.company_id)
        or g.company_id = (select c.company_id from app.operator_choice c
          where c.db_role = session_user and c.role_oid = g.role_oid and c.token = current_setting('app.operator_choice', true)));
  end;

create or replace function app.use_company(company text) returns text language plpgsql
  security definer set search_path = pg_catalog, pg_temp as $$
declare
  chosen record;
  token text := gen_random_uuid();
begin
  select c.id, c.name, g.role_oid into chosen from app.operator_grant g join public.companies c on c.id = g.company_id
  where g.db_role = session_user and g.role_oid = to_regrole(quote_ident(session_user)) and company in (c.name, c.id::text);
  if chosen.id is null then
    raise insufficient_privilege using message = format('%s is no operator of a company named "%s"', session_user, company),
      hint = 'Your companies are in: select * from app.my_companies();';
  end if;
  delete from app.operator_choice c where c.db_role = session_user and c.chosen_at < now() - interval '30 days';
  insert into app.operator_choice (db_role, role_oid, token, company_id) values (session_user, chosen.role_oid, token, chosen.id);
  perform set_config('app.operator_choice', token, false);
  -- What new rows get by default; another value here is refused by the policies.
  perform set_config('app.company_id', chosen.id::text, false);
  return chosen.name;
end $$;

create or replace function app.my_companies() returns table (company text, is_chosen boolean) language sql stable
  security definer set search_path = pg_catalog, pg_temp
  begin atomic
    select c.name, coalesce(c.id = app.operator_company(), false)
    from app.operator_grant g join public.companies c on c.id = g.company_id
    where g.db_role = session_user and g.role_oid = to_regrole(quote_ident(session_user)) order by c.name;
  end;

set role ringfence_owner;

create or replace function app.settle_operator(name name) returns void language plpgsql as $$
declare
  companies uuid[] := array(select g.company_id from app.operator_grant g
    where g.db_role = name and g.role_oid = to_regrole(quote_ident(name)));
begin
  if cardinality(companies) = 1 then
    execute format('alter role %I in database %I set app.company_id = %L', name, current_database(), companies[1]);
  else
    execute format('alter role %I in database %I reset app.company_id', name, current_database());
  end if;
exception when insufficient_privilege then
  -- PostgreSQL lets only a superuser store this setting; without it app.use_company makes it for each connection.
  null;
end $$;

create or replace function app.grant_operator(name name, company text) returns void language plpgsql as $$
declare
  found_id uuid;
  own_oid oid := to_regrole(quote_ident(name));
begin
  perform app.require_operator(name);
  select c.id into found_id from public.companies c where c.name = company;
  if found_id is null then
    raise no_data_found using message = format('there is no company named "%s"', company);
  end if;
  -- Of a role of this name that is gone.
  delete from app.operator_grant g where g.db_role = name and g.role_oid <> own_oid;
  delete from app.operator_choice c where c.db_role = name and c.role_oid <> own_oid;
  insert into app.operator_grant (db_role, role_oid, company_id) values (name, own_oid, found_id) on conflict do nothing;
  perform app.settle_operator(name);
end $$;

-- Grants whose role is gone, or has another name now. For `ringfence doctor`, which logs in as the API.
create function app.lost_grants() returns table (db_role name, role_oid oid, companies bigint) language sql stable
  security definer set search_path = pg_catalog, pg_temp
  begin atomic
    select g.db_role, g.role_oid, count(*) from app.operator_grant g
    where not exists (select from pg_roles r where r.oid = g.role_oid and r.rolname = g.db_role)
    group by g.db_role, g.role_oid;
  end;

-- As before, for the API alone: a person at psql may set whose name they like, and nothing starts by it.
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

-- Whether an archive comes in, whose rows have had what triggers do for new ones. That is a DBA's to say: anybody can set it.
create function app.is_restoring() returns boolean language sql stable parallel safe
  return current_setting('app.restoring', true) is not distinct from 'on' and pg_has_role(session_user, 'ringfence_dba', 'member');
grant execute on function app.is_restoring() to ringfence_api, ringfence_operator_write, ringfence_platform, ringfence_dba;

-- Keeps runs of a backfill, of which there may be several, and an undo apart, as long as the session lasts: a run would take up
-- again what is undone behind it.
create function app.hold_backfill(alone boolean) returns void language plpgsql as $$
declare
  key int := hashtext('ringfence backfill');
  other record;
begin
  perform app.require_bypass();
  -- The server may take a moment to see that a program is gone.
  for attempt in 1..20 loop
    if (case when alone then pg_try_advisory_lock(key, 1) else pg_try_advisory_lock_shared(key, 1) end) then
      return;
    end if;
    perform pg_sleep(0.1);
  end loop;
  select l.pid, l.mode into other from pg_locks l join pg_database d on d.oid = l.database and d.datname = current_database()
  where l.locktype = 'advisory' and l.classid = key::oid and l.objid = 1 and l.objsubid = 2 and l.granted and l.pid <> pg_backend_pid() limit 1;
  raise object_in_use using message = format('a backfill is being %s by process %s of the server: wait for its end, or end its session if it was broken off',
    case other.mode when 'ExclusiveLock' then 'undone' else 'run' end, other.pid);
end $$;

create or replace procedure app.run_backfill(batch int default 2000, pause float8 default 0, parts int default 1) language plpgsql as $$
declare
  step record;
begin
  perform app.hold_backfill(false);
  perform app.open_backfill(parts, true);
  commit;
  loop
    begin
      select * into step from app.backfill_step(batch);
    exception when lock_not_available or deadlock_detected then
      -- Somebody held a row for long, or each waited for the other: the batch is as before, and tried again.
      select null::name as target, 0 as moved, false as is_done into step;
    end;
    commit;
    if step.is_done then
      perform app.open_backfill(parts, false);
      commit;
      exit when not exists (select from app.backfill b where b.finished_at is null);
    end if;
    perform pg_sleep(case when step.target is null then 0.2 else pause end);
  end loop;
  perform pg_advisory_unlock_shared(hashtext('ringfence backfill'), 1);
end $$;

-- As before, of the tables that were not finished. What is left of those that were is named when there is nothing else.
create or replace function app.undo_backfill_step(out target name, out restored int, out stayed int) language plpgsql as $$
declare
  b app.backfill_batch;
  owner_column name;
  targets name[] := array(select p.table_name::name from app.protected_table p
    join pg_attribute a on a.attrelid = p.target::oid and a.attname = 'company_id' and not a.attnotnull);
  finished text;
begin
  perform app.require_bypass();
  select x.* into b from app.backfill_batch x where x.target = any (targets) order by x.id desc limit 1 for update;
  if not found then
    delete from app.backfill_before x where x.target = any (targets);
    delete from app.backfill_collision x where x.target = any (targets);
    delete from app.backfill x where x.target = any (targets);
    if not found then
      select string_agg(distinct x.target, ', ') into finished from app.backfill_batch x;
      if finished is not null then
        raise object_not_in_prerequisite_state using message = format('%s was finished: its rows always have a company now', finished);
      end if;
    end if;
    return;
  end if;
  target := b.target;
  select p.owner into owner_column from app.protected_table p where p.table_name::name = b.target;
  execute format('with restored as (
      update public.%I x set company_id = null from public.users u
      where x.id = any ($1) and x.company_id is not null and u.id = x.%I and u.company_id = x.tenant_id returning 1)
    select count(*) from restored', target, owner_column) into restored using b.ids;
  stayed := cardinality(b.ids) - restored;
  delete from app.backfill_batch x where x.id = b.id;
end $$;

create or replace procedure app.undo_backfill() language plpgsql as $$
declare
  step record;
begin
  perform app.hold_backfill(true);
  loop
    select * into step from app.undo_backfill_step();
    commit;
    exit when step.target is null;
  end loop;
  perform pg_advisory_unlock(hashtext('ringfence backfill'), 1);
end $$;

-- app.finish_backfill drops what an earlier call may have left, and nobody needs to hear of each table that there was nothing.
alter function app.with_short_lock(text) set client_min_messages = warning;

grant execute on function app.hold_backfill(boolean) to ringfence_dba;
reset role;

-- Not as the owner of the tables, who may not call each trigger's function.
do $$
declare
  t record;
  condition text := '(current_setting(''app.restoring''::text, true) IS DISTINCT FROM ''on''::text)';
begin
  for t in
    select g.tgname, g.tgrelid::regclass as target, pg_get_triggerdef(g.oid) as definition
    from pg_trigger g where not g.tgisinternal and position(condition in pg_get_triggerdef(g.oid)) > 0
  loop
    execute format('drop trigger %I on %s', t.tgname, t.target);
    execute replace(t.definition, condition, '(not app.is_restoring())');
  end loop;
end $$;

alter function app.lost_grants() owner to ringfence_platform;
grant execute on function app.lost_grants() to ringfence_api;
