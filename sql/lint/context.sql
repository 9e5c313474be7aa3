-- The functions that every policy calls, word for word: evaluated once per statement, null when nothing is set, and an
-- operator's company determined by the login and not by a setting.
select format('function app.%s is not as the migrations make it', f.name) as finding,
  'create or replace it with the body of the newest migration that has it' as remedy
from (values
  ('company_id', false, 'RETURN (NULLIF(current_setting(''app.company_id''::text, true), ''''::text))::uuid'),
  ('user_id', false, 'RETURN (NULLIF(current_setting(''app.user_id''::text, true), ''''::text))::uuid'),
  ('operator_company', true, 'BEGIN ATOMIC SELECT g.company_id FROM app.operator_grant g WHERE ((g.db_role = SESSION_USER) AND '
    || '(g.role_oid = (to_regrole(quote_ident((SESSION_USER)::text)))::oid) AND '
    || '((NOT (EXISTS ( SELECT FROM app.operator_grant o WHERE ((o.db_role = SESSION_USER) AND (o.role_oid = g.role_oid) AND (o.company_id <> g.company_id))))) OR '
    || '(g.company_id = ( SELECT c.company_id FROM app.operator_choice c WHERE ((c.db_role = SESSION_USER) AND (c.role_oid = g.role_oid) AND '
    || '(c.token = current_setting(''app.operator_choice''::text, true))))))); END')
) as f (name, is_definer, body)
left join pg_proc p on p.proname = f.name and p.pronamespace = 'app'::regnamespace
left join pg_language l on l.oid = p.prolang
where p.oid is null or l.lanname <> 'sql' or p.provolatile <> 's' or p.proparallel <> 's' or p.prosecdef <> f.is_definer
  or (not f.is_definer and p.proconfig is not null)
  or regexp_replace(pg_get_function_sqlbody(p.oid), '\s+', ' ', 'g') is distinct from f.body
order by 1
