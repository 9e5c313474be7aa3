-- Whoever has lost a company says which one they go on with; and what operators could use up or destroy.
set role ringfence_owner;

-- A grant of no company: whose login it is has to choose, however many it has. app.operator_company() finds several then, and of the
-- nil UUID there is no row.
alter table companies add constraint companies_id_check check (id <> '00000000-0000-0000-0000-000000000000');
alter table app.operator_grant
  drop constraint operator_grant_company_fkey,
  add column granted_company_id uuid generated always as (nullif(company_id, '00000000-0000-0000-0000-000000000000')) stored
    constraint operator_grant_company_fkey references companies on delete cascade;
grant insert (db_role, role_oid, company_id) on app.operator_grant to ringfence_platform;

-- Otherwise they would be at work in the company that is left, in a connection that goes on or begins anew, such as psql's, under
-- the name of the one that they have lost.
create function app.have_them_choose() returns trigger language plpgsql
  security definer set search_path = pg_catalog, pg_temp set row_security = on as $$
begin
  insert into app.operator_grant (db_role, role_oid, company_id)
  select old.db_role, old.role_oid, '00000000-0000-0000-0000-000000000000' from pg_roles r where r.rolname = old.db_role and r.oid = old.role_oid
  on conflict do nothing;
  return null;
end $$;
create trigger choice after delete on app.operator_grant for each row when (old.granted_company_id is not null)
  execute function app.have_them_choose();

-- As in V0082. Whoever takes the company away may not always end connections; they see nothing from then on.
create or replace function app.end_connections() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  perform pg_terminate_backend(a.pid) from pg_stat_activity a where a.usesysid = old.role_oid and a.datname = current_database();
  return null;
exception when insufficient_privilege then
  return null;
end $$;

-- As in V0047, and not for one who has to choose.
create or replace function app.settle_operator(name name) returns void language plpgsql as $$
declare
  companies uuid[] := array(select g.granted_company_id from app.operator_grant g
    where g.db_role = name and g.role_oid = to_regrole(quote_ident(name)));
begin
  if cardinality(companies) = 1 and companies[1] is not null then
    execute format('alter role %I in database %I set app.company_id = %L', name, current_database(), companies[1]);
  else
    execute format('alter role %I in database %I reset app.company_id', name, current_database());
  end if;
exception when insufficient_privilege then
  -- PostgreSQL lets only a superuser store this setting; without it app.use_company makes it for each connection.
  null;
end $$;

-- As in V0058, with what the deletion of the grants leaves.
create or replace function app.remove_operator(name name) returns void language plpgsql as $$
declare
  kind text;
  has text;
begin
  perform app.require_operator(name);
  delete from app.operator_grant g where g.db_role = name;
  delete from app.operator_grant g where g.db_role = name;
  delete from app.operator_choice c where c.db_role = name;
  execute format('alter role %I nologin', name);
  perform pg_catalog.pg_terminate_backend(a.pid, 2000) from pg_catalog.pg_stat_activity a where a.usename = name;
  begin
    execute format('drop role %I', name);
  exception when dependent_objects_still_exist then
    get stacked diagnostics has = pg_exception_detail;
    for kind in select r.rolname from pg_catalog.pg_auth_members m join pg_catalog.pg_roles r on r.oid = m.roleid
        where m.member = to_regrole(quote_ident(name)) loop
      execute format('revoke %I from %I', kind, name);
    end loop;
    raise warning using message = format('"%s" may do nothing any more, but the role cannot be dropped: %s', name, has),
      hint = format('drop owned by %1$I in each of these databases, then: drop role %1$I', name);
  end;
end $$;

-- As in V0082, and when a file was deleted is the database's to say: the sweep deletes the content of what was deleted long ago.
create or replace function app.open_to_operators(target regclass) returns void language plpgsql as $$
declare
  rule text := 'tenant_id = (select app.operator_company()) and company_id is not null';
  columns text := (select string_agg(c, ', ') from unnest(string_to_array(app.writable_columns(target), ', ')) c
    where not (target = to_regclass('public.twilio_settings') and c in ('is_verified', 'last_verified_at'))
      and not (target = to_regclass('public.emails') and c in ('opened_at', 'clicked_at', 'execution_id'))
      and not (target = to_regclass('public.files') and c = 'deleted_at')
      and not (target = to_regclass('public.sms_messages') and c = 'execution_id'));
begin
  execute format('drop policy if exists operator on %s', target);
  execute format('create policy operator on %s to ringfence_operator, ringfence_operator_limited using (%s) with check (%s)', target, rule, rule);
  execute format('grant select on %s to ringfence_operator', target);
  -- An invitation makes a login of the API, the key of a mail hook speaks for the provider, and the rest is done or sent in a
  -- member's name.
  if target <> all (array['public.invitations', 'public.mail_hooks', 'public.workflows', 'public.workflow_events', 'public.workflow_executions',
      'public.workflow_steps', 'public.scheduled_sms', 'public.campaigns', 'public.campaign_recipients']::regclass[]) then
    execute format('grant insert (id, tenant_id, company_id, %s), update (%1$s) on %s to ringfence_operator_write', columns, target);
  end if;
end $$;
revoke insert (deleted_at), update (deleted_at) on files from ringfence_operator_write;

-- As in V0011, but what is deleted by a change was not deleted before.
create or replace function app.keep_deletion_time() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  new.deleted_at := case when new.is_deleted and tg_op = 'UPDATE' and not old.is_deleted then now()
    when new.is_deleted then coalesce(new.deleted_at, now()) end;
  return new;
end $$;

reset role;
alter function app.have_them_choose() owner to ringfence_platform;

-- As in V0047, without what is no company.
create or replace function app.lost_grants() returns table (db_role name, role_oid oid, companies bigint) language sql stable
  security definer set search_path = pg_catalog, pg_temp
  begin atomic
    select g.db_role, g.role_oid, count(*) from app.operator_grant g
    where g.granted_company_id is not null and not exists (select from pg_roles r where r.oid = g.role_oid and r.rolname = g.db_role)
    group by g.db_role, g.role_oid;
  end;

-- As in V0068, but the room for locks is the whole server's: no trigger takes so many, and with all of them nobody would write.
create or replace function app.lock_name(kind text, name text) returns void language plpgsql
  security definer set search_path = pg_catalog, pg_temp as $$
declare
  is_trusted boolean := pg_has_role(session_user, 'ringfence_api', 'member') or pg_has_role(session_user, 'ringfence_dba', 'member');
  company uuid := case when is_trusted then app.company_id() else app.operator_company() end;
begin
  if not is_trusted and (select count(*) from pg_locks l where l.pid = pg_backend_pid() and l.locktype = 'advisory') >= 100 then
    raise program_limit_exceeded using message = 'an operator takes no more than 100 names in a transaction';
  end if;
  perform pg_advisory_xact_lock(app.lock_key(format('%L %L %L', kind, company, name)));
end $$;
