-- Asked of the old database. The third column is when a value says something.
select c.table_name::text, c.column_name::text,
  case when c.column_name = 'is_active' then format('not %I', c.column_name)
    when c.data_type = 'boolean' then quote_ident(c.column_name)
    when c.data_type in ('text', 'character varying') then format('%I <> %L', c.column_name, '')
    when c.data_type = 'jsonb' then format('%I not in (%L, %L, %L)', c.column_name, 'null', '[]', '{}')
    when c.data_type = 'ARRAY' then format('%I <> %L', c.column_name, '{}')
    else format('%I is not null', c.column_name) end
from information_schema.columns c
join information_schema.tables t on t.table_schema = c.table_schema and t.table_name = c.table_name and t.table_type = 'BASE TABLE'
where c.table_schema = 'public'
order by 1, 2
