-- Blanks of any kind are around an address and not of it, and a dump fits the next PostgreSQL.
set role ringfence_owner;

-- An address without the blanks around it, of Unicode's, too (White_Space).
create function app.bare_address(address text) returns text language sql immutable parallel safe
  return btrim(address, U&'\0009\000A\000B\000C\000D\0020\0085\00A0\1680\2000\2001\2002\2003\2004\2005\2006\2007\2008\2009\200A\2028\2029\202F\205F\3000');
grant execute on function app.bare_address(text) to ringfence_api, ringfence_dba, ringfence_operator_write;

-- As it is looked for.
create or replace function ops.bare_address(address text) returns text language sql immutable
  return lower(app.bare_address(address));

-- Whether a company may not write to an address.
create or replace function app.is_suppressed(channel text, address text) returns boolean language sql stable
  return exists (select from public.suppressions s where s.channel = $1 and s.address = lower(app.bare_address($2)));

reset role;

-- What is taken from everybody is in every dump, by the function's signature, and this one's is another from PostgreSQL 17 on:
-- neither a restore nor an upgrade would get past it.
do $$
declare
  f regprocedure;
begin
  if current_setting('server_version_num')::int < 170000 and (select rolsuper from pg_roles where rolname = current_user) then
    for f in select p.oid from pg_proc p where p.pronamespace = 'pg_catalog'::regnamespace and p.proname = 'pg_logical_emit_message' loop
      execute format('grant execute on function %s to public', f);
    end loop;
  end if;
end $$;
