-- A `security definer` function runs around the policies: only ringfence_platform's, with a pinned search path, and not
-- for everybody.
select format('function %s is security definer and %s', p.oid::regprocedure, concat_ws(' and ',
    case when p.proowner <> 'ringfence_platform'::regrole then 'belongs to ' || p.proowner::regrole end,
    case when not coalesce('search_path=pg_catalog, pg_temp' = any (p.proconfig), false) then 'has no pinned search_path' end,
    case when has_function_privilege('public', p.oid, 'execute') then 'may be executed by everybody' end)) as finding,
  'set search_path = pg_catalog, pg_temp; owner ringfence_platform; revoke execute from public' as remedy
from pg_proc p
where p.prosecdef and p.pronamespace not in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
  and (p.proowner <> 'ringfence_platform'::regrole
    or not coalesce('search_path=pg_catalog, pg_temp' = any (p.proconfig), false)
    or has_function_privilege('public', p.oid, 'execute'))
order by 1
