-- People at psql: operators, who are held to a company by the role that logged in, and the platform's own staff, who see
-- lists across companies and nothing else.
grant usage on schema public, app to ringfence_operator_write, ringfence_operator_limited;
grant usage on schema app to ringfence_staff;

set role ringfence_owner;

-- An operator may have several companies, and works for one of them at a time.
alter table app.operator_grant
  drop constraint operator_grant_pkey,
  add primary key (db_role, company_id),
  add constraint operator_grant_company_fkey foreign key (company_id) references companies on delete cascade,
  add column granted_at timestamptz not null default now();

-- Which one, by a random token that app.use_company leaves in the session. Only that function writes here, and a token is
-- worth nothing to another role, so the setting that holds it names no company by itself.
create table app.operator_choice (
  db_role    name not null,
  token      text not null,
  company_id uuid not null references companies on delete cascade,
  chosen_at  timestamptz not null default now(),
  primary key (db_role, token)
);
alter table app.operator_choice enable row level security, force row level security;
create policy platform on app.operator_choice to ringfence_platform using (true) with check (true);
grant select, insert, delete on app.operator_choice to ringfence_platform;

reset role;

create or replace function app.operator_company() returns uuid language sql stable parallel safe
  security definer set search_path = pg_catalog, pg_temp
  begin atomic
    select g.company_id from app.operator_grant g
    where g.db_role = session_user
      and (not exists (select from app.operator_grant o where o.db_role = session_user and o.company_id <> g.company_id)
        or g.company_id = (select c.company_id from app.operator_choice c
          where c.db_role = session_user and c.token = current_setting('app.operator_choice', true)));
  end;

set role ringfence_owner;

-- Chooses one of the operator's companies for this connection. Needs the primary: a standby takes no choice.
create function app.use_company(company text) returns text language plpgsql
  security definer set search_path = pg_catalog, pg_temp as $$
declare
  chosen record;
  token text := gen_random_uuid();
begin
  select c.id, c.name into chosen from app.operator_grant g join public.companies c on c.id = g.company_id
  where g.db_role = session_user and company in (c.name, c.id::text);
  if chosen.id is null then
    raise insufficient_privilege using message = format('%s is no operator of a company named "%s"', session_user, company),
      hint = 'Your companies are in: select * from app.my_companies();';
  end if;
  delete from app.operator_choice c where c.db_role = session_user and c.chosen_at < now() - interval '30 days';
  insert into app.operator_choice (db_role, token, company_id) values (session_user, token, chosen.id);
  perform set_config('app.operator_choice', token, false);
  -- What new rows get by default; another value here is refused by the policies.
  perform set_config('app.company_id', chosen.id::text, false);
  return chosen.name;
end $$;

create function app.my_companies() returns table (company text, is_chosen boolean) language sql stable
  security definer set search_path = pg_catalog, pg_temp
  begin atomic
    select c.name, coalesce(c.id = app.operator_company(), false)
    from app.operator_grant g join public.companies c on c.id = g.company_id
    where g.db_role = session_user order by c.name;
  end;

-- Brings a table under tenancy. It needs the columns `id`, `tenant_id`, `company_id` (all uuid) and the owner's column;
-- defaults, constraints, policies and grants come from here, so that they are the same for every table:
--   the caller's company sees its rows; a row without company (historical) is seen by its owner only; new rows have one.
create or replace function app.protect(target regclass, owner name) returns void language plpgsql as $$
declare
  table_name name := (select relname from pg_class where oid = target);
  rule text := format(
    'tenant_id = (select app.company_id()) and (company_id is not null or %I = (select app.user_id()))', owner);
begin
  execute format('alter table %s
      alter column tenant_id set not null, alter column tenant_id set default app.company_id(),
      alter column company_id set default app.company_id(),
      alter column %I set not null, alter column %I set default app.user_id(),
      add constraint %I check (company_id is null or company_id = tenant_id),
      add constraint %I unique (tenant_id, id),
      add constraint %I foreign key (tenant_id, %I) references public.members (tenant_id, user_id) deferrable initially immediate,
      enable row level security, force row level security',
    target, owner, owner, table_name || '_company_is_tenant', table_name || '_tenant_id_key',
    table_name || '_member_fkey', owner);

  execute format('create policy tenant on %s to ringfence_api using (%s) with check (%s)', target, rule, rule);
  execute format('create policy no_new_historical on %s as restrictive for insert to ringfence_api with check (company_id is not null)', target);
  execute format('create policy platform on %s to ringfence_platform using (true) with check (true)', target);

  execute format('grant select, insert, delete, update (%s) on %s to ringfence_api', app.writable_columns(target), target);
  -- What app.assign_company and the deletion of a company touch, and no column with content.
  execute format('grant select (id, tenant_id, company_id, %I), update (tenant_id, company_id), delete on %s to ringfence_platform', owner, target);
  perform app.open_to_operators(target);
end $$;

-- The columns of a table that a row's company may change. Where the content of a file is and what it must be is fixed when
-- it comes in: who could change it would have the server read another company's.
create function app.writable_columns(target regclass) returns text language sql stable
  return (select string_agg(quote_ident(a.attname), ', ' order by a.attnum) from pg_catalog.pg_attribute a
    where a.attrelid = target and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
      and a.attname not in ('id', 'tenant_id', 'company_id')
      and not (target = to_regclass('public.files') and a.attname in ('object_key', 'sha256', 'size')));

-- What operators may do with a protected table: read it, and with ringfence_operator_write also add and change rows. Not
-- delete them: that right would come with the right to lock the table for every company. Which columns
-- ringfence_operator_limited reads is said in sql/platform/operators.sql.
create function app.open_to_operators(target regclass) returns void language plpgsql as $$
declare
  rule text := 'tenant_id = (select app.operator_company()) and company_id is not null';
begin
  execute format('create policy operator on %s to ringfence_operator, ringfence_operator_limited using (%s) with check (%s)', target, rule, rule);
  execute format('grant select on %s to ringfence_operator', target);
  -- An invitation makes a login of the API, which is not an operator's to give.
  if target <> to_regclass('public.invitations') then
    execute format('grant insert (id, tenant_id, company_id, %s), update (%1$s) on %s to ringfence_operator_write', app.writable_columns(target), target);
  end if;
  -- The triggers of other tables take back what they asked for.
  if target = to_regclass('public.jobs') then
    execute format('grant delete on %s to ringfence_operator_write', target);
  end if;
end $$;

do $$
declare
  t record;
begin
  for t in select target from app.protected_table loop
    execute format('drop policy operator on %s', t.target);
    perform app.open_to_operators(t.target);
  end loop;
end $$;
alter policy operator on companies to ringfence_operator, ringfence_operator_limited;
alter policy operator on users to ringfence_operator, ringfence_operator_limited;
alter policy operator on members to ringfence_operator, ringfence_operator_limited;
grant select on app.protected_table to ringfence_operator_limited;

-- Rows by table and company, as far as the one who asks sees them: an operator their company, a DBA all. What is hidden
-- from them is null: operators have app.historical_rows.
create function app.distribution() returns table (table_name text, company text, company_rows bigint, historical_rows bigint, total bigint)
  language plpgsql stable as $$
#variable_conflict use_column
declare
  t record;
begin
  for t in select p.target, p.table_name from app.protected_table p order by 2 loop
    return query execute format(
      'with rows as (select x.tenant_id, count(x.company_id) as owned, count(*) as seen from %s x group by 1)
       select %L::text, c.name, sum(r.owned)::bigint, case when not row_security_active(%1$L) then sum(r.seen - r.owned) end::bigint, sum(r.seen)::bigint
       from rows r left join public.companies c on c.id = r.tenant_id group by c.name order by 5 desc', t.target, t.table_name);
  end loop;
end $$;
grant execute on function app.distribution() to ringfence_operator, ringfence_operator_limited, ringfence_dba;

-- Operators are made by an administrator, who calls these or `ringfence operator`. Roles are the cluster's, grants are this
-- database's.
create function app.add_operator(name name, companies text[], may_write boolean default false, personal_data boolean default true,
  verifier text default null) returns void language plpgsql as $$
declare
  kind name := case when not personal_data then 'ringfence_operator_limited' when may_write then 'ringfence_operator_write' else 'ringfence_operator' end;
  company text;
begin
  if may_write and not personal_data then
    raise invalid_parameter_value using message = 'an operator who writes sees personal data: choose one of both';
  end if;
  if name::text ~ '^ringfence' then
    raise reserved_name using message = 'names that begin with "ringfence" are the program''s own: choose another one';
  end if;
  if exists (select from pg_catalog.pg_roles r where r.rolname = name) then
    raise duplicate_object using message = format('there is a role named "%s" already', name),
      hint = 'Roles belong to the whole cluster and not to one database: choose another name, or see app.grant_operator for an operator who is to have one more company.';
  end if;
  if coalesce(cardinality(companies), 0) = 0 then
    raise invalid_parameter_value using message = 'an operator needs a company';
  end if;
  execute format('create role %I login nosuperuser nocreatedb nocreaterole noreplication nobypassrls in role %I', name, kind);
  if verifier is not null then
    execute format('alter role %I password %L', name, verifier);
  end if;
  -- So that a forgotten psql does not stand in the way of others. They may set these for themselves.
  execute format('alter role %I set statement_timeout = %L', name, '60s');
  execute format('alter role %I set lock_timeout = %L', name, '2s');
  execute format('alter role %I set idle_in_transaction_session_timeout = %L', name, '5min');
  execute format('alter role %I set timezone = %L', name, 'UTC');
  foreach company in array companies loop
    perform app.grant_operator(name, company);
  end loop;
end $$;

create function app.require_operator(name name) returns void language plpgsql stable as $$
begin
  if not exists (select from pg_catalog.pg_auth_members m join pg_catalog.pg_roles r on r.oid = m.member
      where r.rolname = name and r.rolcanlogin and m.roleid::regrole::text in ('ringfence_operator', 'ringfence_operator_write', 'ringfence_operator_limited')) then
    raise undefined_object using message = format('there is no operator named "%s"', name);
  end if;
end $$;

-- What new rows get by default: the operator's company when there is one only.
create function app.settle_operator(name name) returns void language plpgsql as $$
declare
  companies uuid[] := array(select g.company_id from app.operator_grant g where g.db_role = name);
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

create function app.grant_operator(name name, company text) returns void language plpgsql as $$
declare
  found_id uuid;
begin
  perform app.require_operator(name);
  select c.id into found_id from public.companies c where c.name = company;
  if found_id is null then
    raise no_data_found using message = format('there is no company named "%s"', company);
  end if;
  insert into app.operator_grant (db_role, company_id) values (name, found_id) on conflict do nothing;
  perform app.settle_operator(name);
end $$;

create function app.revoke_operator(name name, company text) returns void language plpgsql as $$
begin
  perform app.require_operator(name);
  delete from app.operator_grant g using public.companies c where g.db_role = revoke_operator.name and c.id = g.company_id and c.name = company;
  if not found then
    raise no_data_found using message = format('"%s" is no operator of a company named "%s"', name, company);
  end if;
  perform app.settle_operator(name);
end $$;

-- Ends an operator: their grants, their connections, their role.
create function app.remove_operator(name name) returns void language plpgsql as $$
begin
  perform app.require_operator(name);
  delete from app.operator_grant g where g.db_role = name;
  delete from app.operator_choice c where c.db_role = name;
  execute format('alter role %I nologin', name);
  perform pg_catalog.pg_terminate_backend(a.pid, 2000) from pg_catalog.pg_stat_activity a where a.usename = name;
  execute format('drop role %I', name);
end $$;

-- Who of the platform's staff asked for what across companies, and when. Rows are added and never changed.
create table app.staff_log (
  id       uuid primary key default app.uuid_v7(),
  db_role  name not null default session_user,
  report   text not null,
  asked_at timestamptz not null default clock_timestamp()
);
alter table app.staff_log enable row level security, force row level security;
create policy platform on app.staff_log to ringfence_platform using (true) with check (true);
grant insert on app.staff_log to ringfence_platform;
create function app.keep_staff_log() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  raise exception 'the log of the staff is not changed';
end $$;
create trigger append_only before update or delete or truncate on app.staff_log execute function app.keep_staff_log();

create function app.staff_companies() returns table (id uuid, name text, plan text, status text, subscription_status text, users bigint, created_at timestamptz)
  language sql security definer set search_path = pg_catalog, pg_temp
  begin atomic
    insert into app.staff_log (report) values ('companies');
    select c.id, c.name, c.plan, c.status, c.subscription_status,
      (select count(*) from public.users u where u.company_id = c.id and not u.is_deleted), c.created_at
    from public.companies c order by c.name;
  end;

create function app.staff_users_without_company()
  returns table (id uuid, email text, first_name text, last_name text, user_role text, status text, created_at timestamptz, last_login timestamptz)
  language sql security definer set search_path = pg_catalog, pg_temp
  begin atomic
    insert into app.staff_log (report) values ('users without company');
    select u.id, u.email, u.first_name, u.last_name, u.user_role, u.status, u.created_at, u.last_login
    from public.users u where u.company_id is null and not u.is_deleted order by u.created_at, u.id;
  end;

-- What waits in the queue, by company; `late` is how long the oldest due job has waited.
create function app.staff_queue() returns table (company text, kind text, waiting bigint, due bigint, given_up bigint, late interval)
  language sql security definer set search_path = pg_catalog, pg_temp
  begin atomic
    insert into app.staff_log (report) values ('queue');
    select c.name, j.kind, count(*) filter (where j.failed_at is null), count(*) filter (where j.failed_at is null and j.run_at <= now()),
      count(j.failed_at), now() - min(j.run_at) filter (where j.failed_at is null and j.run_at <= now())
    from public.jobs j left join public.companies c on c.id = j.tenant_id group by c.name, j.kind order by 6 desc nulls last, 3 desc;
  end;

create function app.staff_historical_rows() returns table (table_name text, company text, row_count bigint) language plpgsql
  security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
  t record;
begin
  insert into app.staff_log (report) values ('historical rows');
  for t in select p.target, p.table_name from app.protected_table p order by 2 loop
    return query execute format('select %L::text, c.name, count(*) from %s x left join public.companies c on c.id = x.tenant_id
      where x.company_id is null group by c.name order by 3 desc', t.table_name, t.target);
  end loop;
end $$;

reset role;
do $$
declare
  f text;
begin
  foreach f in array array['use_company(text)', 'my_companies()', 'staff_companies()', 'staff_users_without_company()', 'staff_queue()',
      'staff_historical_rows()'] loop
    execute format('alter function app.%s owner to ringfence_platform', f);
    execute format('grant execute on function app.%s to %s', f,
      case when f like 'staff%' then 'ringfence_staff' else 'ringfence_operator, ringfence_operator_limited' end);
  end loop;
end $$;
grant execute on function app.operator_company(), app.historical_rows(), app.company_id(), app.user_id(), app.uuid_v7()
  to ringfence_operator_limited;

-- The company of a name that is locked is the caller's: for operators by their login, as the setting is theirs to choose.
-- SHA-256, so that nobody finds a name of their own with the key of another company's.
create or replace function app.lock_name(kind text, name text) returns void language plpgsql
  security definer set search_path = pg_catalog, pg_temp as $$
declare
  company uuid := case when pg_has_role(session_user, 'ringfence_api', 'member') or pg_has_role(session_user, 'ringfence_dba', 'member')
    then app.company_id() else app.operator_company() end;
begin
  perform pg_advisory_xact_lock(('x' || encode(sha256(convert_to(format('%L %L %L', kind, company, name), 'UTF8')), 'hex'))::bit(64)::bigint);
end $$;
alter function app.lock_name(text, text) owner to ringfence_platform;
grant execute on function app.lock_name(text, text) to ringfence_operator_write;

-- Advisory locks and large objects are the whole database's: with them an operator could hold up every company, or leave
-- something for another one's. Only a superuser can take them from everybody.
do $$
declare
  f regprocedure;
begin
  if (select rolsuper from pg_roles where rolname = current_user) then
    for f in select oid::regprocedure from pg_proc where pronamespace = 'pg_catalog'::regnamespace and proname ~ '^(pg_(try_)?advisory_|lo_creat|lo_from_bytea)' loop
      execute format('revoke execute on function %s from public', f);
      execute format('grant execute on function %s to ringfence_owner, ringfence_api, ringfence_platform, ringfence_dba', f);
    end loop;
  end if;
end $$;
