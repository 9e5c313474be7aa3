-- Restores what `drop owned by` one of their roles took from all operators and staff, without which no server starts;
-- the files that follow do the rest. Run by `ringfence migrate` after the migrations; safe to repeat, and changes
-- nothing if nothing is missing.
do $$
declare
  t record;
  g record;
  -- Checked before the first table is changed.
  writes_nothing boolean := not has_any_column_privilege('ringfence_operator_write', 'public.contacts', 'insert');
begin
  for t in
    with own (name, roles, rule) as (values
      ('companies', 2, 'id = (select app.operator_company())'),
      ('users', 2, 'company_id = (select app.operator_company())'),
      ('members', 2, 'tenant_id = (select app.operator_company())'),
      ('audit_log', 2, 'tenant_id = (select app.operator_company()) and company_id is not null'),
      ('deal_sums', 1, 'tenant_id = (select app.operator_company()) and company_id is not null')
    ), wanted as (
      select format('public.%I', name)::regclass as target, roles, rule from own
      union all select target::regclass, 2, null from app.protected_table
    )
    select w.target, w.rule, case w.roles when 2 then 'ringfence_operator, ringfence_operator_limited' else 'ringfence_operator' end as roles
    from wanted w left join pg_policy p on p.polrelid = w.target and p.polname = 'operator'
    where coalesce(cardinality(p.polroles), 0) < w.roles or not has_table_privilege('ringfence_operator', w.target, 'select')
      or w.rule is null and writes_nothing
  loop
    if t.rule is null then
      perform app.open_to_operators(t.target);
      continue;
    end if;
    execute format('drop policy if exists operator on %s', t.target);
    execute format('create policy operator on %s for select to %s using (%s)', t.target, t.roles, t.rule);
    execute format('grant select on %s to ringfence_operator', t.target);
  end loop;

  for g in
    select format('usage on schema %I', s) as granted, r as role
    from unnest(array['public', 'app']) s, unnest(array['ringfence_operator', 'ringfence_operator_write', 'ringfence_operator_limited', 'ringfence_staff']) r
    where (s = 'app' or r <> 'ringfence_staff')
      and not exists (select from pg_namespace n, aclexplode(n.nspacl) x where n.nspname = s and x.grantee in (0, r::regrole))
    union all
    select format('select on %s', v.name), r
    from (values ('deal_card', false), ('email_card', false), ('quote_card', false), ('workflow_card', false), ('app.protected_table', true)) v (name, is_open),
      unnest(array['ringfence_operator', 'ringfence_operator_limited']) r
    where (v.is_open or r = 'ringfence_operator') and not has_table_privilege(r, v.name, 'select')
    union all
    select format('execute on function %s', p.oid::regprocedure), r
    from pg_proc p, unnest(array['ringfence_operator', 'ringfence_operator_limited', 'ringfence_operator_write', 'ringfence_staff']) r
    where p.pronamespace = 'app'::regnamespace and case r
        when 'ringfence_staff' then p.proname like 'staff\_%'
        when 'ringfence_operator_write' then p.proname = 'lock_name'
        else p.proname in ('operator_company', 'use_company', 'my_companies', 'historical_rows', 'company_refusals', 'distribution', 'company_id', 'user_id',
          'uuid_v7', 'global_key', 'plain') end
      and not has_function_privilege(r, p.oid, 'execute')
  loop
    execute format('grant %s to %I', g.granted, g.role);
  end loop;
end $$
