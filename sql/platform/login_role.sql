-- Why the policies would not restrict the login's role; null if they do.
select nullif(concat_ws(', ',
  case when r.rolsuper then 'is a superuser' end,
  case when r.rolbypassrls then 'bypasses row-level security' end,
  case when not r.rolsuper and exists (
    select from pg_roles o where o.oid <> r.oid and pg_has_role(r.oid, o.oid, 'member')
      and (o.rolsuper or o.rolbypassrls or o.rolname in ('ringfence_owner', 'ringfence_platform', 'ringfence_dba')))
    then 'is a member of a role that owns the tables or bypasses row-level security' end,
  case when exists (select from pg_class c where c.relnamespace = 'public'::regnamespace and c.relowner = r.oid)
    then 'owns tables' end), '')
from pg_roles r where r.rolname = session_user
