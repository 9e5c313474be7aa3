-- The tables with rows of companies, but for `members`.
select c.relname::text from pg_class c
join pg_attribute t on t.attrelid = c.oid and t.attname = 'tenant_id' and not t.attisdropped
where c.relkind in ('r', 'p') and c.relnamespace = 'public'::regnamespace and c.relname <> 'members'
order by 1
