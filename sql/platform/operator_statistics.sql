-- Columns without planner statistics. `explain` estimates from samples of a whole table, so columns that are not open
-- to all operators have none, unless a search needs them. Run by `ringfence migrate` after sql/platform/operators.sql,
-- which decides what is open; safe to repeat.
do $$
declare
  c record;
begin
  for c in
    with searched (name, columns) as (values
      ('contacts', 'first_name_lc last_name_lc search_text email phone_digits'),
      ('deals', 'search_text'),
      ('quotes', 'search_text'),
      ('files', 'search_text'),
      ('emails', 'message_id'),
      ('suppressions', 'address')
    )
    select t.oid::regclass as target, a.attname as column_name
    from pg_policy p
    join pg_class t on t.oid = p.polrelid and t.relnamespace = 'public'::regnamespace
    join pg_attribute a on a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped
    left join searched s on s.name = t.relname
    where p.polname = 'operator' and coalesce(a.attstattarget, -1) <> 0
      and (not has_column_privilege('ringfence_operator_limited', t.oid, a.attnum, 'select') or a.attname in ('twilio_sid', 'provider_id'))
      and not coalesce(a.attname = any (string_to_array(s.columns, ' ')), false)
  loop
    execute format('alter table %s alter column %I set statistics 0', c.target, c.column_name);
  end loop;

  -- Expression indexes are searched for a single value, which needs no statistics.
  for c in
    select i.indexrelid::regclass as target, a.attnum from pg_index i
    join pg_policy p on p.polrelid = i.indrelid and p.polname = 'operator'
    join pg_attribute a on a.attrelid = i.indexrelid and i.indkey[a.attnum - 1] = 0 and a.atttypid = 'text'::regtype
    where coalesce(a.attstattarget, -1) <> 0
  loop
    execute format('alter index %s alter column %s set statistics 0', c.target, c.attnum);
  end loop;

  -- Existing samples stay until they are deleted, which needs a superuser.
  if (select r.rolsuper from pg_roles r where r.rolname = current_user) then
    delete from pg_statistic s using pg_attribute a
    where a.attrelid = s.starelid and a.attnum = s.staattnum and a.attstattarget = 0
      and s.starelid in (select p.polrelid from pg_policy p where p.polname = 'operator'
        union select i.indexrelid from pg_index i join pg_policy p on p.polrelid = i.indrelid where p.polname = 'operator');
  end if;
end $$
