-- The event trigger that denies operators and staff statements that change the structure of the database: some wait for
-- a table's lock, and block everybody behind them, before PostgreSQL checks whether they are allowed.
select 'operators and staff can stop a table for every company with `create rule`, and take the rights of all operators with `drop owned by`' as finding,
  'run `ringfence migrate` as a superuser, or as whoever may create event triggers on this server; until then only those have a login at psql '
    || 'whom you trust with every company' as remedy
where exists (
    select from pg_roles r where r.rolcanlogin and not r.rolsuper and not pg_has_role(r.oid, 'ringfence_owner', 'member')
      and (pg_has_role(r.oid, 'ringfence_operator', 'member') or pg_has_role(r.oid, 'ringfence_operator_limited', 'member')
        or pg_has_role(r.oid, 'ringfence_staff', 'member')))
  and not exists (
    select from pg_event_trigger e
    where e.evtevent = 'ddl_command_start' and e.evttags is null and e.evtenabled in ('O', 'A') and e.evtfoid = to_regprocedure('app.refuse_ddl()'))
