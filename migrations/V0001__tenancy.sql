-- Tenancy: the schema `app`, the context of a transaction, and `app.protect`, which brings a table under it.

do $$
begin
  execute format('revoke temporary on database %I from public', current_database());
  execute format('grant create on database %I to ringfence_owner', current_database());
end $$;
revoke create on schema public from public;
grant usage, create on schema public to ringfence_owner;
grant usage on schema public to ringfence_api, ringfence_operator, ringfence_platform, ringfence_dba;

set role ringfence_owner;

create schema app;
-- `create` for the platform role only while migrations hand functions to it: an owner must be able to create in the schema.
grant usage, create on schema app to ringfence_platform;
grant usage on schema app to ringfence_api, ringfence_operator, ringfence_dba;
alter default privileges revoke execute on functions from public;
alter default privileges grant all on tables to ringfence_dba;

-- Whose transaction this is. An unset or empty setting is null, and null matches no row. After a commit a
-- transaction-local setting reads as the empty string, which a bare cast would turn into an error.
create function app.company_id() returns uuid language sql stable parallel safe
  return nullif(current_setting('app.company_id', true), '')::uuid;
create function app.user_id() returns uuid language sql stable parallel safe
  return nullif(current_setting('app.user_id', true), '')::uuid;

-- A uuid of version 7 (RFC 9562): the first 48 bits are the time in milliseconds, so that keys grow with time.
create function app.uuid_v7() returns uuid language sql volatile parallel safe
  return encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid())
    placing substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3) from 1 for 6), 52, 1), 53, 1), 'hex')::uuid;

grant execute on function app.company_id(), app.user_id(), app.uuid_v7()
  to ringfence_api, ringfence_operator, ringfence_platform, ringfence_dba;

-- A nested id: null when none was given, `visible` when the caller sees it, and otherwise the 404 of an unknown
-- one. SQLSTATEs of class RF are Ringfence's own: their message is a sentence for the client (src/error.rs).
create function app.found(what text, given uuid, visible uuid) returns uuid language plpgsql stable parallel safe as $$
begin
  if given is not null and visible is null then
    raise sqlstate 'RF404' using message = what;
  end if;
  return visible;
end $$;
grant execute on function app.found(text, uuid, uuid) to ringfence_api, ringfence_platform, ringfence_dba;

-- The company a person at psql works for, by the role that logged in: no setting and no `set role` changes it.
create table app.operator_grant (
  db_role    name primary key,
  company_id uuid not null
);
alter table app.operator_grant enable row level security, force row level security;
create policy platform on app.operator_grant to ringfence_platform using (true) with check (true);
grant select on app.operator_grant to ringfence_platform;

create function app.operator_company() returns uuid language sql stable parallel safe
  security definer set search_path = pg_catalog, pg_temp
  begin atomic select g.company_id from app.operator_grant g where g.db_role = session_user; end;

-- Brings a table under tenancy. It needs the columns `id`, `tenant_id`, `company_id` (all uuid) and the owner's column;
-- defaults, constraints, policies and grants come from here, so that they are the same for every table:
--   the caller's company sees its rows; a row without company (historical) is seen by its owner only; new rows have one.
create function app.protect(target regclass, owner name) returns void language plpgsql as $$
declare
  table_name name := (select relname from pg_class where oid = target);
  rule text := format(
    'tenant_id = (select app.company_id()) and (company_id is not null or %I = (select app.user_id()))', owner);
  writable text := (
    select string_agg(quote_ident(attname), ', ' order by attnum) from pg_attribute
    where attrelid = target and attnum > 0 and not attisdropped and attgenerated = ''
      and attname not in ('id', 'tenant_id', 'company_id'));
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
  execute format('create policy operator on %s for select to ringfence_operator using (tenant_id = (select app.operator_company()) and company_id is not null)', target);
  execute format('create policy platform on %s to ringfence_platform using (true) with check (true)', target);

  execute format('grant select, insert, delete, update (%s) on %s to ringfence_api', writable, target);
  execute format('grant select on %s to ringfence_operator', target);
  -- What app.assign_company and the deletion of a company touch, and no column with content.
  execute format('grant select (id, tenant_id, company_id, %I), update (tenant_id, company_id), delete on %s to ringfence_platform', owner, target);
end $$;

-- Every protected table with the column of its owner, which is the one that the key to `members` names.
create view app.protected_table with (security_invoker = true) as
  select p.polrelid::regclass as target, c.relname::text as table_name, a.attname as owner
  from pg_catalog.pg_policy p
  join pg_catalog.pg_class c on c.oid = p.polrelid
  join pg_catalog.pg_constraint k on k.conrelid = p.polrelid and k.conname = c.relname || '_member_fkey'
  join pg_catalog.pg_attribute a on a.attrelid = p.polrelid and a.attnum = k.conkey[2]
  where p.polname = 'tenant';
grant select on app.protected_table to ringfence_platform, ringfence_operator;

-- How many historical rows an operator's company has in each table: they see the number and not the rows.
create function app.historical_rows() returns table (table_name text, row_count bigint) language plpgsql stable
  security definer set search_path = pg_catalog, pg_temp as $$
declare t record;
begin
  for t in select p.target, p.table_name from app.protected_table p order by 2 loop
    return query execute format('select %L::text, count(*) from %s where company_id is null and tenant_id = app.operator_company()',
      t.table_name, t.target);
  end loop;
end $$;
-- Only a member of both roles may hand a function over, which `ringfence_owner` is not.
reset role;
alter function app.operator_company() owner to ringfence_platform;
alter function app.historical_rows() owner to ringfence_platform;
grant execute on function app.operator_company(), app.historical_rows() to ringfence_operator;
