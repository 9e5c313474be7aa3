-- Tables whose rows are not isolated, or that lack a policy. Both lists may only shrink.
with open_table (name) as (
  values ('app.caller'), ('app.rate_limits'), ('refinery_schema_history')
), own_rules (name, policies) as (
  values ('companies', array['own', 'operator', 'platform']), ('users', array['colleagues', 'operator', 'platform']),
    ('members', array['own', 'operator', 'platform']), ('notifications', array['own', 'platform']), ('audit_log', array['own', 'operator', 'platform']),
    ('app.credentials', array['platform']), ('app.company_secrets', array['platform']), ('app.operator_grant', array['platform']),
    ('app.operator_choice', array['platform']), ('app.staff_log', array['platform']), ('app.idempotency_keys', array['platform']),
    ('app.refusals', array['platform']),
    -- Only for roles that bypass row-level security.
    ('app.backfill', array[]::text[]), ('app.backfill_batch', array[]::text[]), ('app.backfill_collision', array[]::text[]),
    ('app.backfill_before', array[]::text[]), ('app.backfill_index', array[]::text[])
), wanted as (
  select c.oid, c.oid::regclass::text as name, c.relrowsecurity and c.relforcerowsecurity as is_forced,
    coalesce(o.policies, array['tenant', 'no_new_historical', 'operator', 'platform']) as policies
  from pg_class c
  left join own_rules o on o.name = c.oid::regclass::text
  where c.relkind in ('r', 'p') and c.relnamespace in ('public'::regnamespace, 'app'::regnamespace)
    and c.oid::regclass::text not in (select name from open_table)
)
select case when w.is_forced then format('table %s has no policy %s', w.name, missing.policies)
    else format('table %s has no forced row-level security', w.name) end as finding,
  format('end its migration with: select app.protect(%L, ''user_id'');', w.name) as remedy
from wanted w
cross join lateral (
  select string_agg(p, ', ') as policies from unnest(w.policies) as p
  where not exists (select from pg_policy q where q.polrelid = w.oid and q.polname = p)
) as missing
where not w.is_forced or missing.policies is not null
order by 1
