-- The logins of operators and staff, without passwords, and the identity of their server.
select jsonb_build_object('server', (select system_identifier::text from pg_control_system()), 'logins', coalesce(jsonb_agg(
    jsonb_build_object('name', l.rolname, 'oid', l.oid, 'groups', l.groups, 'settings', coalesce(l.rolconfig, '{}'), 'connections', l.rolconnlimit) order by l.rolname), '[]'))::text
from (
  select r.oid, r.rolname, r.rolconfig, r.rolconnlimit,
    array(select m.roleid::regrole::text from pg_auth_members m
      where m.member = r.oid and m.roleid::regrole::text in ('ringfence_operator', 'ringfence_operator_write', 'ringfence_operator_limited', 'ringfence_staff')
      order by 1) as groups
  from pg_roles r where r.rolcanlogin
) l
where cardinality(l.groups) > 0
  and (l.rolname in (select db_role from app.operator_grant) or 'ringfence_staff' = any (l.groups))
