-- Partitions a table by hash (tenant_id), as a superuser who owns nothing of it: rows, keys, indexes, triggers,
-- policies and grants are kept, and each partition has the policies but no grant. Locks the table while it is copied.
-- Its primary key becomes (tenant_id, id). Before: set ops.target = 'sms_messages'; set ops.partitions = '16';
do $$
declare
  name text := current_setting('ops.target');
  parts int := current_setting('ops.partitions');
  t regclass := format('public.%I', current_setting('ops.target'));
  holders text; again text[]; policies text[]; step text; part text; columns text;
begin
  execute format('lock table %s in access exclusive mode', t);
  select string_agg(distinct d.objid::regproc::text, ', ') into holders from pg_depend d
  where d.refobjid = t and d.classid = 'pg_proc'::regclass and d.deptype = 'n';
  if holders is not null or exists (select from pg_depend d where d.refobjid = t and d.classid in ('pg_rewrite'::regclass, 'pg_statistic_ext'::regclass) and d.objid <> t) then
    raise exception '% cannot be partitioned: functions, views or statistics hold on to it: %', name, coalesce(holders, 'see pg_depend');
  end if;
  select string_agg(quote_ident(attname), ', ' order by attnum) into columns from pg_attribute
  where attrelid = t and attnum > 0 and not attisdropped and attgenerated = '';
  -- The statements that make the new table equal to the old one, in order.
  select array_agg(s.step order by s.n) into again from (
    select 1 as n, format('alter table %s add constraint %I %s', t, conname, case contype when 'p' then 'primary key (tenant_id, id)' else pg_get_constraintdef(oid) end) as step
    from pg_constraint where conrelid = t and contype in ('p', 'c', 'u') and pg_get_constraintdef(oid) <> 'UNIQUE (tenant_id, id)'
    union all select 2, pg_get_indexdef(i.indexrelid) from pg_index i
    where i.indrelid = t and not exists (select from pg_constraint c where c.conindid = i.indexrelid and c.contype in ('p', 'u'))
    union all select 3, format('alter table %s add constraint %I %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
    from pg_constraint where contype = 'f' and conparentid = 0 and t in (conrelid, confrelid)
    union all select 4, pg_get_triggerdef(oid) from pg_trigger where tgrelid = t and not tgisinternal
    union all select 5, format('alter table %s alter %I set statistics %s', t, attname, attstattarget) from pg_attribute
    where attrelid = t and attnum > 0 and attstattarget >= 0 and not attisdropped
    union all select 6, format('grant %s on %s to %s', x.privilege_type, t, x.grantee::regrole) from pg_class c, aclexplode(c.relacl) x where c.oid = t
    union all select 7, format('grant %s (%I) on %s to %s', x.privilege_type, a.attname, t, x.grantee::regrole)
    from pg_attribute a, aclexplode(a.attacl) x where a.attrelid = t) s;
  select array_agg(format('create policy %I on %%1$s as %s for %s to %s%s%s', policyname, permissive, cmd, array_to_string(roles, ', '),
    ' using (' || qual || ')', ' with check (' || with_check || ')')) into policies from pg_policies where schemaname = 'public' and tablename = name;
  for step in select format('alter table %s drop constraint %I', conrelid::regclass, conname) from pg_constraint where contype = 'f' and confrelid = t and conparentid = 0 loop
    execute step;
  end loop;
  execute format('alter table %s rename to %I', t, name || '_whole');
  execute format('create table public.%I (like %s including defaults including generated including storage including compression) partition by hash (tenant_id)', name, t);
  for i in 0 .. parts - 1 loop
    execute format('create table public.%I partition of public.%I for values with (modulus %s, remainder %s)', name || '_p' || i, name, parts, i);
  end loop;
  execute format('insert into public.%I (%s) select %2$s from %s', name, columns, t);
  execute format('drop table %s', t);
  foreach step in array again loop
    execute step;
  end loop;
  foreach part in array array[name] || array(select name || '_p' || i from generate_series(0, parts - 1) i) loop
    execute format('alter table public.%I owner to ringfence_owner', part);
    execute format('alter table public.%I enable row level security, force row level security', part);
    foreach step in array policies loop
      execute format(step, format('public.%I', part));
    end loop;
  end loop;
end $$
