-- Policies that are not one of the known rules, word for word: a weaker one, one that joins companies with `or`, one
-- that reads a setting by itself, one of another role. Rules of a single table are listed here, and nowhere else.
with policy as (
  select p.polname, c.oid::regclass::text as target, p.polcmd, p.polpermissive,
    (select string_agg(r::regrole::text, ',' order by r::regrole::text) from unnest(p.polroles) r) as roles,
    pg_get_expr(p.polqual, p.polrelid) as rule, pg_get_expr(p.polwithcheck, p.polrelid) as check_rule,
    (select a.attname from pg_constraint k join pg_attribute a on a.attrelid = k.conrelid and a.attnum = k.conkey[2]
     where k.conrelid = p.polrelid and k.conname = coalesce(w.relname, c.relname) || '_member_fkey') as owner,
    exists (select from pg_attribute a where a.attrelid = p.polrelid and a.attname = 'company_id' and a.attnotnull) as is_finished
  from pg_policy p join pg_class c on c.oid = p.polrelid
  -- A partition has the constraints of its table.
  left join pg_inherits i on i.inhrelid = c.oid left join pg_class w on w.oid = i.inhparent
  where c.relnamespace in ('public'::regnamespace, 'app'::regnamespace)
), known as (
  select *, case
    when polname = 'tenant' and roles = 'ringfence_api' and polcmd = '*' and polpermissive then rule = check_rule and (rule = format(
      '((tenant_id = ( SELECT app.company_id() AS company_id)) AND ((company_id IS NOT NULL) OR (%I = ( SELECT app.user_id() AS user_id))))', owner)
      -- The rule after `backfill finish`, where there are no historical rows any more.
      or is_finished and rule = '(tenant_id = ( SELECT app.company_id() AS company_id))')
    when polname = 'no_new_historical' and roles = 'ringfence_api' and polcmd = 'a' and not polpermissive
      then rule is null and check_rule = '(company_id IS NOT NULL)'
    when polname = 'platform' and roles = 'ringfence_platform' and polcmd = '*' then rule = 'true' and check_rule = 'true'
    -- Sums that only triggers write.
    when polname = 'operator' and target = 'deal_sums' and roles = 'ringfence_operator' and polcmd = 'r' and polpermissive then check_rule is null
      and rule = '((tenant_id = ( SELECT app.operator_company() AS operator_company)) AND (company_id IS NOT NULL))'
    when polname = 'operator' and roles = 'ringfence_operator,ringfence_operator_limited' and polpermissive then case
      when polcmd = 'r' then check_rule is null and (target, rule) in (
        ('companies', '(id = ( SELECT app.operator_company() AS operator_company))'),
        ('users', '(company_id = ( SELECT app.operator_company() AS operator_company))'),
        ('members', '(tenant_id = ( SELECT app.operator_company() AS operator_company))'),
        ('audit_log', '((tenant_id = ( SELECT app.operator_company() AS operator_company)) AND (company_id IS NOT NULL))'))
      when polcmd = '*' then check_rule = rule and rule = '((tenant_id = ( SELECT app.operator_company() AS operator_company)) AND (company_id IS NOT NULL))'
      end
    when roles = 'ringfence_api' and polcmd = '*' and polpermissive then rule = check_rule and (target, polname::text, rule) in (
      ('companies', 'own', '(id = ( SELECT app.company_id() AS company_id))'),
      ('users', 'colleagues', '((company_id = ( SELECT app.company_id() AS company_id)) OR ((id = ( SELECT app.user_id() AS user_id)) AND (( SELECT app.company_id() AS company_id) IS NULL)))'),
      ('members', 'own', '(tenant_id = ( SELECT app.company_id() AS company_id))'),
      ('audit_log', 'own', '((tenant_id = ( SELECT app.company_id() AS company_id)) AND (company_id IS NOT NULL))'),
      ('notifications', 'own', '((user_id = ( SELECT app.user_id() AS user_id)) AND ((company_id IS NULL) OR (company_id = ( SELECT app.company_id() AS company_id))))'))
    end as is_known
  from policy
)
select format('policy %s on %s for %s is not a known rule: using %s, with check %s', polname, target, roles,
    coalesce(rule, 'nothing'), coalesce(check_rule, 'nothing')) as finding,
  'drop it and call app.protect, or add the rule to sql/lint/policies.sql with its reason' as remedy
from known where is_known is not true
order by 1
