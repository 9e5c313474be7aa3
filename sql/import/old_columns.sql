-- Reads the old catalog, which also lists unreadable columns. `says_something` is the condition of a non-empty value.
select c.relname::text as table_name, a.attname::text as column_name,
  case when a.attname = 'is_active' then format('not %I', a.attname)
    when a.atttypid = 'boolean'::regtype then quote_ident(a.attname)
    when a.atttypid in ('text'::regtype, 'varchar'::regtype) then format('%I <> %L', a.attname, '')
    when a.atttypid = 'jsonb'::regtype then format('%I not in (%L, %L, %L)', a.attname, 'null', '[]', '{}')
    when t.typcategory = 'A' then format('%I <> %L', a.attname, '{}')
    else format('%I is not null', a.attname) end as says_something,
  a.atttypid = 'json'::regtype as is_json, has_column_privilege(c.oid, a.attnum, 'select') as is_readable, row_security_active(c.oid) as hides_rows
from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_attribute a on a.attrelid = c.oid join pg_type t on t.oid = a.atttypid
where n.nspname = 'public' and c.relkind in ('r', 'p') and not c.relispartition and a.attnum > 0 and not a.attisdropped
order by 1, 2
