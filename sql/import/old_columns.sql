-- Asked of the old database.
select c.table_name::text, c.column_name::text from information_schema.columns c
join information_schema.tables t on t.table_schema = c.table_schema and t.table_name = c.table_name and t.table_type = 'BASE TABLE'
where c.table_schema = 'public'
order by 1, 2
