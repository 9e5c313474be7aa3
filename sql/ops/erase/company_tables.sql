-- Data of companies in the schema `app`: secrets, operators, callers.
select c.oid::regclass::text from pg_class c
join pg_attribute a on a.attrelid = c.oid and a.attname = 'company_id' and not a.attisdropped
where c.relkind = 'r' and c.relnamespace = 'app'::regnamespace
order by 1
