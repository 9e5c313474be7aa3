-- The rows that `undo` would make historical again: not those of tables that were finished.
select coalesce(sum(cardinality(b.ids)), 0)::bigint
from app.backfill_batch b
join app.protected_table p on p.table_name::name = b.target
join pg_attribute a on a.attrelid = p.target::oid and a.attname = 'company_id' and not a.attnotnull
