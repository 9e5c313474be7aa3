-- Every table, as named in statements.
select c.oid::regclass::text as name from pg_class c
where c.relkind = 'r' and c.relpersistence <> 't' and c.relnamespace::regnamespace::text not in ('pg_catalog', 'information_schema', 'pg_toast')
order by name
