-- The functions that every policy calls, as they must be: inlined, evaluated once a statement, and null when nothing is set.
select format('function app.%s is not as migrations/V0001__tenancy.sql makes it', f.name) as finding,
  'restore it: language sql, stable, parallel safe, without set clause, over nullif(current_setting(…, true), '''')' as remedy
from (values ('company_id'), ('user_id')) as f (name)
left join pg_proc p on p.proname = f.name and p.pronamespace = 'app'::regnamespace
left join pg_language l on l.oid = p.prolang
where p.oid is null or l.lanname <> 'sql' or p.provolatile <> 's' or p.proparallel <> 's' or p.prosecdef or p.proconfig is not null
  or pg_get_function_sqlbody(p.oid) is distinct from format('RETURN (NULLIF(current_setting(''app.%s''::text, true), ''''::text))::uuid', f.name)
order by 1
