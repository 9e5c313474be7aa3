-- The rows of every table. A count in text, because a statement cannot name a table that it has just found.
select t.name, (xpath('/row/n/text()', query_to_xml('select count(*) as n from ' || t.name, false, true, '')))[1]::text::bigint as row_count
from (select c.oid::regclass::text as name from pg_class c
  where c.relkind = 'r' and c.relpersistence <> 't' and c.relnamespace::regnamespace::text not in ('pg_catalog', 'information_schema', 'pg_toast')) t
order by t.name
