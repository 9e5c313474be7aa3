-- Roles that policies do not restrict, and memberships that lead from a restricted role to one of them or to the API's
-- login.
with recursive person as (
  -- Operators and staff, directly or through other roles.
  select r.oid, r.oid as via from pg_roles r
  where r.rolname in ('ringfence_operator', 'ringfence_operator_write', 'ringfence_operator_limited', 'ringfence_staff')
  union select m.member, p.via from pg_auth_members m join person p on m.roleid = p.oid
), held as (
  select r.*, r.rolname = 'ringfence_api' as is_api, r.rolname in ('ringfence_owner', 'ringfence_platform') or r.rolname in
      (select via::regrole::text from person) as is_group,
    exists (select from person p where p.oid = r.oid and p.via <> 'ringfence_staff'::regrole) as is_operator
  from pg_roles r
  where r.rolname in ('ringfence_api', 'ringfence_owner', 'ringfence_platform')
    or r.oid in (select oid from person)
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
         or (o.rolname = 'ringfence_api' and h.oid in (select oid from person))
         or (o.rolname in ('ringfence_operator', 'ringfence_operator_limited', 'ringfence_staff') and h.is_api)
         or (o.rolname = 'ringfence_operator' and pg_has_role(h.oid, 'ringfence_operator_limited', 'member'))
         or (o.rolname = 'ringfence_staff' and h.is_operator)))) as problem
  from held h
)
select format('%s %s', rolname, problem) as finding, 'alter the role, or revoke the membership' as remedy
from judged where problem <> ''
order by 1
