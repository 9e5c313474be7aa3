-- Partitioned tables that have historical rows, through which a backfill cannot go.
select t.table_name from app.protected_table t join pg_class c on c.oid = t.target
where case when c.relkind = 'p' then (xpath('/row/has/text()', query_to_xml(
  format('select exists (select from %s where company_id is null) as has', t.target), false, true, '')))[1]::text = 'true' end
order by 1
