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

reset role;

alter function app.lost_grants() owner to ringfence_platform;
grant execute on function app.lost_grants() to ringfence_api;
