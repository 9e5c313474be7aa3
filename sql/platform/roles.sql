-- The cluster's roles. Run by `ringfence migrate` under an advisory lock in the maintenance database, because roles
-- belong to the cluster and not to one database. Safe to repeat.
do $$
declare
  wanted record;
begin
  for wanted in
    select * from (values
      ('ringfence_owner', 'nologin'),
      ('ringfence_api', 'login'),
      ('ringfence_operator', 'nologin'),
      ('ringfence_operator_write', 'nologin'),
      ('ringfence_operator_limited', 'nologin'),
      ('ringfence_staff', 'nologin'),
      ('ringfence_platform', 'nologin'),
      ('ringfence_dba', 'nologin')
    ) as r (name, kind)
  loop
    if not exists (select from pg_roles where rolname = wanted.name) then
      execute format('create role %I %s nosuperuser nocreatedb nocreaterole noreplication', wanted.name, wanted.kind);
    end if;
  end loop;

  if not (select rolbypassrls from pg_roles where rolname = 'ringfence_dba') then
    begin
      alter role ringfence_dba bypassrls;
    exception when insufficient_privilege then
      raise warning 'ringfence_dba could not be given bypassrls: a superuser must run "alter role ringfence_dba bypassrls" before a backfill or an import';
    end;
  end if;

  -- A role that writes can also read.
  if not exists (select from pg_auth_members
      where roleid = 'ringfence_operator'::regrole and member = 'ringfence_operator_write'::regrole) then
    grant ringfence_operator to ringfence_operator_write;
  end if;

  -- Only what differs: whoever changes a role makes others wait until the end of their transaction.
  for wanted in
    select s.name, s.value from (values
      ('statement_timeout', '30s'), ('lock_timeout', '5s'), ('idle_in_transaction_session_timeout', '15s'), ('timezone', 'UTC'),
      -- The text form of values does not depend on settings of the database or server.
      ('datestyle', 'ISO, MDY'), ('intervalstyle', 'postgres'), ('bytea_output', 'hex'), ('extra_float_digits', '1'),
      ('standard_conforming_strings', 'on'), ('quote_all_identifiers', 'off'), ('search_path', 'public'),
      ('row_security', 'on'), ('default_transaction_isolation', 'read committed')
    ) as s (name, value)
    where not exists (select from pg_db_role_setting d, unnest(d.setconfig) c
      where d.setrole = 'ringfence_api'::regrole and d.setdatabase = 0 and lower(split_part(c, '=', 1)) = s.name
        and substring(c from position('=' in c) + 1) = s.value)
  loop
    execute format('alter role ringfence_api set %I = %L', wanted.name, wanted.value);
  end loop;

  -- An administrator who is not a superuser must be a member to transfer ownership.
  if not (select rolsuper from pg_roles where rolname = current_user) then
    execute format('grant ringfence_owner, ringfence_platform to %I', current_user);
  end if;
end $$
