-- Roles that policies do not hold, and ways from a held role to one of them.
select format('%s %s', r.rolname, concat_ws(' and ',
    case when r.rolsuper then 'is superuser' end,
    case when r.rolbypassrls then 'bypasses row-level security' end,
    case when r.rolcreaterole then 'may create roles' end,
    case when r.rolreplication then 'may replicate' end,
    case when escape.name is not null then 'is a member of ' || escape.name end)) as finding,
  'alter the role, or revoke the membership' as remedy
from pg_roles r
left join lateral (
  select string_agg(o.rolname, ', ') as name from pg_roles o
  where o.oid <> r.oid and not r.rolsuper and pg_has_role(r.oid, o.oid, 'member')
    and (o.rolname in ('ringfence_owner', 'ringfence_platform', 'ringfence_dba') or o.rolsuper or o.rolbypassrls
      or o.rolname in ('pg_read_all_data', 'pg_write_all_data', 'pg_read_all_stats', 'pg_monitor', 'pg_execute_server_program', 'pg_read_server_files', 'pg_write_server_files'))
) as escape on true
where (r.rolname in ('ringfence_api', 'ringfence_operator') or (pg_has_role(r.oid, 'ringfence_operator', 'member') and not r.rolsuper)
    or r.rolname = session_user and pg_has_role(r.oid, 'ringfence_api', 'member') and not r.rolsuper)
  and (r.rolsuper or r.rolbypassrls or r.rolcreaterole or r.rolreplication or escape.name is not null)
order by 1
