-- A `security definer` function bypasses the policies: only ringfence_platform may own one, with a pinned search_path,
-- for the API's login and nobody else. Trigger functions set row_security on, whatever the role that fires them has
-- set. The functions that operators and the platform's staff may call are listed here.
with function as (
  select p.oid, p.proowner, p.oid::regprocedure::text as name,
    coalesce('search_path=pg_catalog, pg_temp' = any (p.proconfig), false) as is_pinned,
    p.prorettype = 'trigger'::regtype and not coalesce('row_security=on' = any (p.proconfig), false) as may_be_refused,
    (select string_agg(coalesce(nullif(x.grantee, 0)::regrole::text, 'everybody'), ', ')
     from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) x
     where x.privilege_type = 'EXECUTE' and x.grantee <> p.proowner
       and coalesce(nullif(x.grantee, 0)::regrole::text, 'everybody') <> 'ringfence_api'
       and not (x.grantee in ('ringfence_operator'::regrole, 'ringfence_operator_limited'::regrole)
         and p.oid::regprocedure::text in ('app.operator_company()', 'app.historical_rows()', 'app.use_company(text)', 'app.my_companies()',
           'app.company_refusals()'))
       and not (x.grantee = 'ringfence_operator_write'::regrole and p.oid::regprocedure::text = 'app.lock_name(text,text)')
       and not (x.grantee = 'ringfence_staff'::regrole
         and p.oid::regprocedure::text in ('app.staff_companies()', 'app.staff_users_without_company()', 'app.staff_queue()', 'app.staff_historical_rows()', 'app.staff_refusals()'))
      ) as others
  from pg_proc p
  where p.prosecdef and p.pronamespace not in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
)
select format('function %s is security definer and %s', name, concat_ws(' and ',
    case when proowner <> 'ringfence_platform'::regrole then 'belongs to ' || proowner::regrole end,
    case when not is_pinned then 'has no pinned search_path' end,
    case when may_be_refused then 'leaves row_security to whoever fires it' end,
    'may be executed by ' || others)) as finding,
  'set search_path = pg_catalog, pg_temp; for a trigger row_security = on; owner ringfence_platform; execute for ringfence_api only' as remedy
from function
where proowner <> 'ringfence_platform'::regrole or not is_pinned or may_be_refused or others is not null
order by 1
