-- Takes those functions of PostgreSQL from everybody with which somebody at psql could hold up every company (advisory
-- locks), leave something for another one (large objects), see how much all of them write, fill the disk (messages in
-- the write-ahead log), or go on in a company that was taken from them (by the snapshot of a transaction that began
-- before). Run by `ringfence migrate` after the migrations; safe to repeat. Only a superuser can take them:
-- sql/lint/operator_rights.sql says what is open without.
do $$
declare
  f record;
begin
  if not (select r.rolsuper from pg_roles r where r.rolname = current_user) then
    return;
  end if;
  for f in
    select p.oid::regprocedure as signature, case
        when p.proname = 'pg_logical_emit_message' then null
        when p.proname = 'pg_export_snapshot' then 'ringfence_dba'
        when p.proname like '%lsn' then 'ringfence_api, ringfence_dba, pg_monitor'
        else 'ringfence_owner, ringfence_api, ringfence_platform, ringfence_dba' end as users
    from pg_proc p
    where p.pronamespace = 'pg_catalog'::regnamespace
      and (p.proname ~ '^(pg_(try_)?advisory_|lo_creat|lo_from_bytea|pg_current_wal_(insert_|flush_)?lsn$|pg_export_snapshot$)'
        -- Its signature is another one from PostgreSQL 17 on, where a dump of an earlier one that names it could not be
        -- restored.
        or p.proname = 'pg_logical_emit_message' and current_setting('server_version_num')::int >= 170000)
      and exists (select from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) x where x.grantee = 0)
  loop
    execute format('revoke execute on function %s from public', f.signature);
    if f.users is not null then
      execute format('grant execute on function %s to %s', f.signature, f.users);
    end if;
  end loop;
end $$
