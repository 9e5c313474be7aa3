-- Which company a name means, whose a number is, and what goes when people or companies do.
set role ringfence_owner;

-- A text without what does not show: control and format characters, with which a name forges a line at a terminal, or looks like
-- another one. (Unicode: Cc, Cf, Zl, Zp, but for Arabic, Syriac and Kaithi signs that show; src/wire/rule.rs has the same.)
create function app.plain(written text) returns text language sql immutable strict parallel safe
  return regexp_replace(written, '[\u0001-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U0001d173-\U0001d17a\U000e0001-\U000e007f]+', '', 'g');

-- What all names have in common that are told from each other by case, blanks, and what does not show at most.
create function app.alike(name text) returns text language sql immutable strict parallel safe
  return lower(regexp_replace(app.plain(name), '[[:space:]\u00a0\u034f\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200a\u202f\u205f\u3000\u3164\ufe00-\ufe0f\uffa0]+', '', 'g'));

-- The company that somebody means by its id or its name, of these or of all; no id where there is none. Its admins may give a
-- company whatever name is free: one that another had before, or that looks like another's, does not say which is meant.
create function app.find_company(given text, among uuid[] default null, out id uuid, out name text) language plpgsql stable as $$
declare
  others text;
begin
  if given ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then
    select c.id, c.name into id, name from public.companies c where c.id = given::uuid and (among is null or c.id = any (among));
    if id is not null then
      return;
    end if;
  end if;
  select c.id, c.name into id, name from public.companies c
  where app.global_key(c.name) = app.global_key(given) and (among is null or c.id = any (among));
  select string_agg(format('%s is "%s"', o.id, app.plain(o.name)), ', ' order by o.id) into others
  from public.companies o
  where o.id is distinct from find_company.id and (among is null or o.id = any (among))
    and (app.alike(o.name) = app.alike(given) or exists (
      select from public.audit_log a
      where a.tenant_id = o.id and a.record_id = o.id and a.table_name = 'companies' and app.alike(a.before ->> 'name') = app.alike(given)));
  if others is not null then
    raise ambiguous_parameter using message = format('"%s" does not say which company is meant: give its id. %s, which was called so before, or has a name that looks like it',
      app.plain(given), concat_ws(', ', case when id is not null then format('%s has this name', id) end, others));
  end if;
end $$;

-- Who fills the disk for temporary files, fills it for everybody. Only a superuser may say this, and it stays as they have said it.
create function app.limit_temporary_files(operator name) returns void language plpgsql as $$
begin
  if not exists (select from pg_db_role_setting s, unnest(s.setconfig) c
      where s.setrole = to_regrole(quote_ident(operator)) and s.setdatabase = 0 and c like 'temp\_file\_limit=%') then
    execute format('alter role %I set temp_file_limit = %L', operator, '1GB');
  end if;
exception when insufficient_privilege then
  null;
end $$;

-- As in V0083, with a limit to temporary files.
create or replace function app.settle_operator(name name) returns void language plpgsql as $$
declare
  companies uuid[] := array(select g.granted_company_id from app.operator_grant g
    where g.db_role = name and g.role_oid = to_regrole(quote_ident(name)));
begin
  perform app.limit_temporary_files(name);
  if cardinality(companies) = 1 and companies[1] is not null then
    execute format('alter role %I in database %I set app.company_id = %L', name, current_database(), companies[1]);
  else
    execute format('alter role %I in database %I reset app.company_id', name, current_database());
  end if;
exception when insufficient_privilege then
  -- PostgreSQL lets only a superuser store this setting; without it app.use_company makes it for each connection.
  null;
end $$;

-- As in V0047, by the id or a name that says which company is meant.
create or replace function app.grant_operator(name name, company text) returns void language plpgsql as $$
declare
  found_id uuid;
  own_oid oid := to_regrole(quote_ident(name));
begin
  perform app.require_operator(name);
  select f.id into found_id from app.find_company(company) f;
  if found_id is null then
    raise no_data_found using message = format('there is no company named "%s", and none of that id', app.plain(company));
  end if;
  -- Of a role of this name that is gone.
  delete from app.operator_grant g where g.db_role = name and g.role_oid <> own_oid;
  delete from app.operator_choice c where c.db_role = name and c.role_oid <> own_oid;
  insert into app.operator_grant (db_role, role_oid, company_id) values (name, own_oid, found_id) on conflict do nothing;
  perform app.settle_operator(name);
end $$;

-- As in V0021, by the id or a name that says which of their companies is meant.
create or replace function app.revoke_operator(name name, company text) returns void language plpgsql as $$
begin
  perform app.require_operator(name);
  delete from app.operator_grant g
  where g.db_role = revoke_operator.name and g.company_id = (
    select f.id from app.find_company(company, array(select o.company_id from app.operator_grant o where o.db_role = revoke_operator.name)) f);
  if not found then
    raise no_data_found using message = format('"%s" is no operator of a company named "%s", nor of one of that id', name, app.plain(company));
  end if;
  perform app.settle_operator(name);
end $$;

-- As in V0068, but two who remove or demote each other at the same time do not both succeed: whoever waited is looked at again.
create or replace function app.guard_user() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  me app.caller;
begin
  if current_user not in ('ringfence_api', 'ringfence_platform') then
    return new;
  end if;
  if current_user = 'ringfence_api' and old.company_id is not null and new.id is distinct from app.user_id()
     and (new.user_role is distinct from old.user_role or new.status is distinct from old.status or new.is_deleted is distinct from old.is_deleted) then
    perform app.lock_admins(old.company_id);
  end if;
  select * into me from app.caller c where c.user_id = app.user_id();
  if current_user = 'ringfence_api' then
    if (new.id is distinct from me.user_id or new.user_role is distinct from old.user_role or new.status is distinct from old.status)
       and not coalesce(app.is_team_admin(me.role), false) then
      raise sqlstate 'RF403' using message = case when app.user_id() is null then 'Only an admin may change other users'
        else 'Your account has changed: log in again' end;
    end if;
    -- Otherwise the admin of the company that a super admin belongs to gets the platform by changing their address.
    if old.user_role = 'super_admin' and me.role is distinct from 'super_admin' then
      raise sqlstate 'RF403' using message = 'Only a super admin may change a super admin';
    end if;
  end if;
  if new.user_role = 'super_admin' and old.user_role <> 'super_admin' and me.role is distinct from 'super_admin' then
    raise sqlstate 'RF403' using message = 'Only a super admin can grant the super admin role';
  end if;
  if old.user_role = 'company_admin' and old.status = 'active' and not old.is_deleted and old.company_id is not null
     and (new.user_role <> 'company_admin' or new.status <> 'active' or new.is_deleted or new.company_id is distinct from old.company_id) then
    perform app.lock_admins(old.company_id);
    if not exists (select from public.users u where u.company_id = old.company_id and u.id <> old.id
                   and u.user_role = 'company_admin' and u.status = 'active' and u.is_active and not u.is_deleted)
       and (not new.is_deleted
            or exists (select from public.users u where u.company_id = old.company_id and u.id <> old.id and not u.is_deleted)) then
      raise sqlstate 'RF400' using message = 'The company needs at least one admin: make somebody else an admin first';
    end if;
  end if;
  return new;
end $$;

-- The tables with rows of companies but `members`, those that refer to others before these, and whether one refers to itself.
create function app.tenant_tables() returns table (target regclass, of_itself boolean) language plpgsql stable as $$
declare
  others regclass[] := array(select p.target::regclass from app.protected_table p union select 'public.notifications'::regclass);
begin
  while cardinality(others) > 0 loop
    select t into target from unnest(others) t
    order by exists (select from pg_constraint k where k.contype = 'f' and k.confrelid = t and k.conrelid <> t and k.conrelid = any (others)), t::text
    limit 1;
    of_itself := exists (select from pg_constraint k where k.contype = 'f' and k.confrelid = target and k.conrelid = target);
    others := array_remove(others, target);
    return next;
  end loop;
end $$;

grant update (company_id) on notifications to ringfence_platform;
grant select (company_id) on notifications to ringfence_platform;
grant update (is_active, updated_at) on phone_numbers to ringfence_platform;
grant select (tenant_id, table_name, record_id, before) on audit_log to ringfence_platform;
grant execute on function app.plain(text) to ringfence_api, ringfence_operator, ringfence_operator_limited, ringfence_platform, ringfence_dba;
grant execute on function app.alike(text), app.find_company(text, uuid[]) to ringfence_platform, ringfence_dba;
grant execute on function app.tenant_tables() to ringfence_platform, ringfence_dba;
reset role;

-- As in V0047, but by the id before a name, and by no name that could be another of their companies.
create or replace function app.use_company(company text) returns text language plpgsql
  security definer set search_path = pg_catalog, pg_temp as $$
declare
  own oid := to_regrole(quote_ident(session_user));
  chosen record;
  token text := gen_random_uuid();
begin
  select f.id, f.name into chosen
  from app.find_company(company, array(select g.company_id from app.operator_grant g where g.db_role = session_user and g.role_oid = own)) f;
  if chosen.id is null then
    raise insufficient_privilege using message = format('%s is no operator of a company named "%s"', session_user, app.plain(company)),
      hint = 'Your companies are in: select * from app.my_companies();';
  end if;
  delete from app.operator_choice c where c.db_role = session_user and c.chosen_at < now() - interval '30 days';
  insert into app.operator_choice (db_role, role_oid, token, company_id) values (session_user, own, token, chosen.id);
  perform set_config('app.operator_choice', token, false);
  -- What new rows get by default; another value here is refused by the policies.
  perform set_config('app.company_id', chosen.id::text, false);
  return chosen.name;
end $$;

-- As in V0078, and what somebody was told before there were companies stays with the company, too.
create or replace function app.keep_members() returns trigger language plpgsql
  security definer set search_path = pg_catalog, pg_temp set row_security = on as $$
declare
  t record;
begin
  insert into public.members (tenant_id, user_id) values (coalesce(new.company_id, new.id), new.id) on conflict do nothing;
  if tg_op = 'INSERT' or old.company_id is not distinct from new.company_id then
    return null;
  end if;
  set constraints all deferred;
  for t in select target, owner from app.protected_table loop
    if old.company_id is null then
      execute format('update %s set tenant_id = $1 where tenant_id = $2 and %I = $2', t.target, t.owner)
        using new.company_id, new.id;
    else
      execute format('update %s set company_id = tenant_id where company_id is null and tenant_id = $1 and %I = $2', t.target, t.owner)
        using old.company_id, new.id;
    end if;
  end loop;
  if old.company_id is null then
    update public.notifications n set tenant_id = new.company_id where n.tenant_id = new.id and n.user_id = new.id;
  else
    update public.notifications n set company_id = n.tenant_id where n.company_id is null and n.tenant_id = old.company_id and n.user_id = new.id;
    perform app.give_conversations(array(select s.id from public.sms_messages s
      where s.tenant_id = old.company_id and s.user_id = new.id and s.company_id is not null and s.conversation_id is null));
  end if;
  set constraints all immediate;
  return null;
end $$;

-- Switches off in other companies those of these numbers that a provider says are this account's; answers those that another company
-- goes on with, which has the same account.
create function app.take_numbers(numbers text[], account text) returns setof text language plpgsql
  security definer set search_path = pg_catalog, pg_temp as $$
begin
  update public.phone_numbers n set is_active = false, updated_at = now()
  where n.id in (
    select o.id from public.phone_numbers o
    where app.global_key(o.phone_number) = any ($1) and o.is_active and not o.is_deleted and o.company_id <> app.company_id()
      and not exists (select from public.twilio_settings s
        where s.tenant_id = o.tenant_id and s.company_id is not null and s.is_verified and s.account_sid = $2)
    order by o.id for no key update);
  return query select o.phone_number from public.phone_numbers o
    where app.global_key(o.phone_number) = any ($1) and o.is_active and not o.is_deleted and o.company_id <> app.company_id();
end $$;
revoke execute on function app.take_numbers(text[], text) from public;
alter function app.take_numbers(text[], text) owner to ringfence_platform;
grant execute on function app.take_numbers(text[], text) to ringfence_api;

-- As in V0049, and one who deletes a company waits for no row of it to be written down: that the company goes is enough. What refers
-- to other rows goes before these, so that no reference is emptied first.
create or replace function app.delete_company(company_id uuid) returns boolean language plpgsql
  security definer set search_path = pg_catalog, pg_temp as $$
declare
  people bigint;
  t record;
begin
  perform app.require_super_admin();
  perform from public.companies c where c.id = $1 for update;
  if not found then
    return false;
  end if;
  select count(*) into people from public.users u where u.company_id = $1 and not u.is_deleted;
  if people > 0 then
    raise sqlstate 'RF400' using
      message = format('The company has %s: remove them first', case people when 1 then '1 user' else people || ' users' end);
  end if;
  set constraints all deferred;
  perform set_config('app.deleting_company', 'on', true);
  for t in select target from app.tenant_tables() loop
    execute format('delete from %s where tenant_id = $1', t.target) using $1;
  end loop;
  perform set_config('app.deleting_company', '', true);
  update public.users u set company_id = null where u.company_id = $1;
  delete from public.members m where m.tenant_id = $1;
  delete from public.companies c where c.id = $1;
  set constraints all immediate;
  return true;
end $$;

-- As in V0068, but for the rows of a company that is being deleted, which only the API's login can say.
create or replace function app.keep_audit_log() returns trigger language plpgsql
  security definer set search_path = pg_catalog, pg_temp set row_security = on as $$
declare
  was jsonb;
  now_is jsonb;
  changed jsonb;
  is_api boolean;
  request text;
  is_job boolean;
  kept_before jsonb;
  kept_after jsonb;
begin
  if current_setting('role') = 'ringfence_dba' or tg_op = 'DELETE' and current_setting('app.deleting_company', true) = 'on'
    and pg_catalog.pg_has_role(session_user, 'ringfence_api', 'member') then
    return null;
  end if;
  -- What a person at psql has set says nothing: only the API's login speaks in somebody's name.
  is_api := pg_catalog.pg_has_role(session_user, 'ringfence_api', 'member');
  request := case when is_api then coalesce(current_setting('app.request_id', true), '') else '' end;
  is_job := starts_with(request, 'job ');
  was := case when tg_op <> 'INSERT' then to_jsonb(old) end;
  now_is := case when tg_op <> 'DELETE' then to_jsonb(new) end;
  changed := coalesce(now_is, was);
  if tg_nargs > 0 then
    select jsonb_object_agg(c.name, app.brief(was -> c.name)) filter (where was is not null),
      jsonb_object_agg(c.name, app.brief(now_is -> c.name)) filter (where now_is is not null)
    into kept_before, kept_after
    from unnest(tg_argv) c (name)
    where was is null or now_is is null or was -> c.name is distinct from now_is -> c.name;
    if tg_op = 'UPDATE' and kept_after is null then
      return null;
    end if;
  end if;
  -- A user who moves is news for both companies, and neither is told which the other one is.
  insert into public.audit_log (tenant_id, company_id, table_name, record_id, action, before, after, user_id, role, db_role, request_id)
  select coalesce(c.id, (changed ->> 'tenant_id')::uuid, (changed ->> 'id')::uuid), c.id, tg_table_name, (changed ->> 'id')::uuid, lower(tg_op),
    app.without_other_company(kept_before, c.id), app.without_other_company(kept_after, c.id), case when is_api and not f.is_foreign then app.user_id() end,
    case when is_job then 'job' when not f.is_foreign then k.role end,
    nullif(session_user, 'ringfence_api'), nullif(case when is_job then substr(request, 5) else request end, '')
  from (select (case when tg_table_name = 'companies' then was ->> 'id' else was ->> 'company_id' end)::uuid where was is not null
    union select (case when tg_table_name = 'companies' then now_is ->> 'id' else now_is ->> 'company_id' end)::uuid where now_is is not null) c (id)
  left join app.caller k on is_api and k.user_id = app.user_id()
  -- Whoever joins a company with an account of another one's making is not that company's to name.
  cross join lateral (select not is_job and coalesce(k.company_id <> c.id and k.role <> 'super_admin', false) as is_foreign) f;
  return null;
end $$;

-- The notifications of those who have moved before.
set role ringfence_platform;
update public.notifications n set company_id = n.tenant_id from public.users u
where n.company_id is null and n.tenant_id <> n.user_id and u.id = n.user_id and u.company_id is distinct from n.tenant_id;
reset role;

-- Not as the owner of the tables: roles are the administrator's.
do $$
declare
  operator name;
begin
  for operator in select distinct g.db_role from app.operator_grant g join pg_roles r on r.rolname = g.db_role and r.oid = g.role_oid loop
    perform app.limit_temporary_files(operator);
  end loop;
end $$;
