-- Databases of this server, other than Ringfence's, that let operators or staff in. What is taken from them in ours
-- they may do there, and the room for locks, the disk and the lock of `ringfence migrate` are the whole server's.
select format('the database %I lets %s in, who could stop the server for every company from there', d.datname, string_agg(r.rolname, ', ' order by r.rolname)) as finding,
  format('as its owner: revoke connect on database %1$I from public; and for each login that needs it, such as an administrator who is no superuser: '
    || 'grant connect on database %1$I to …', d.datname) as remedy
from pg_database d join pg_roles r on has_database_privilege(r.oid, d.oid, 'connect')
where d.datallowconn and d.datname <> current_database() and not has_database_privilege('ringfence_owner', d.oid, 'create')
  and r.rolcanlogin and not r.rolsuper and not pg_has_role(r.oid, 'ringfence_owner', 'member')
  and exists (select from unnest(array['ringfence_operator', 'ringfence_operator_limited', 'ringfence_staff']) g where pg_has_role(r.oid, g, 'member'))
group by d.datname
order by d.datname
