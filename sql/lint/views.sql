-- A view reads with its owner's rights unless it says otherwise; a materialised view or foreign table has no policies.
select format('%s %s', case c.relkind when 'v' then 'view' when 'm' then 'materialised view' else 'foreign table' end,
    c.oid::regclass) || case c.relkind when 'v' then ' is not security_invoker' else ' is readable by the API or operators' end as finding,
  case c.relkind when 'v' then 'create it with (security_invoker = true)' else 'revoke the grant' end as remedy
from pg_class c
where c.relnamespace in ('public'::regnamespace, 'app'::regnamespace)
  and ((c.relkind = 'v' and not coalesce('security_invoker=true' = any (c.reloptions), false))
    or (c.relkind in ('m', 'f') and (has_table_privilege('ringfence_api', c.oid, 'select') or has_table_privilege('ringfence_operator', c.oid, 'select'))))
order by 1
