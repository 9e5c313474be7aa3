-- Roles that policies do not hold, and ways from a held role to one of them or to the API's login.
with held as (
  select r.*, r.rolname = 'ringfence_api' as is_api, r.rolname in ('ringfence_owner', 'ringfence_platform') as is_group from pg_roles r
  where r.rolname in ('ringfence_api', 'ringfence_operator', 'ringfence_owner', 'ringfence_platform')
    or exists (select from pg_auth_members m where m.member = r.oid and m.roleid = 'ringfence_operator'::regrole)
    or (r.rolname = session_user and not r.rolsuper and pg_has_role(r.oid, 'ringfence_api', 'member'))
), judged as (
  select h.rolname, concat_ws(' and ',
    case when h.rolsuper then 'is superuser' end,
    case when h.rolbypassrls then 'bypasses row-level security' end,
    case when h.rolcreaterole then 'may create roles' end,
    case when h.rolreplication then 'may replicate' end,
    case when h.is_group and h.rolcanlogin then 'may log in' end,
    (select 'is a member of ' || string_agg(o.rolname, ', ') from pg_roles o
     where o.oid <> h.oid and not h.rolsuper and pg_has_role(h.oid, o.oid, 'member')
       and (o.rolsuper or o.rolbypassrls or o.rolname in ('ringfence_owner', 'ringfence_platform', 'ringfence_dba', 'pg_read_all_data',
           'pg_write_all_data', 'pg_read_all_stats', 'pg_monitor', 'pg_execute_server_program', 'pg_read_server_files', 'pg_write_server_files')
         or (o.rolname = 'ringfence_api' and not h.is_api and pg_has_role(h.oid, 'ringfence_operator', 'member'))
         or (o.rolname = 'ringfence_operator' and h.is_api)))) as problem
  from held h
)
select format('%s %s', rolname, problem) as finding, 'alter the role, or revoke the membership' as remedy
from judged where problem <> ''
order by 1
