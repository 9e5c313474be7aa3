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

  alter role ringfence_api set statement_timeout = '30s';
  alter role ringfence_api set lock_timeout = '5s';
  alter role ringfence_api set idle_in_transaction_session_timeout = '15s';
  alter role ringfence_api set timezone = 'UTC';
  -- The text form of values does not depend on settings of the database or server.
  alter role ringfence_api set datestyle = 'ISO, MDY';
  alter role ringfence_api set intervalstyle = 'postgres';
  alter role ringfence_api set bytea_output = 'hex';
  alter role ringfence_api set extra_float_digits = 1;
  alter role ringfence_api set default_transaction_isolation = 'read committed';
  alter role ringfence_operator set timezone = 'UTC';

  -- An administrator who is not a superuser must be a member to transfer ownership.
  if not (select rolsuper from pg_roles where rolname = current_user) then
    execute format('grant ringfence_owner, ringfence_platform to %I', current_user);
  end if;
end $$
