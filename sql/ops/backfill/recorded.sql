-- The rows that `undo` would make historical again, and those that it would not because their tables are finished.
select coalesce(sum(cardinality(b.ids)) filter (where not a.attnotnull), 0)::bigint as recorded,
  coalesce(sum(cardinality(b.ids)) filter (where a.attnotnull), 0)::bigint as finished
from app.backfill_batch b
join app.protected_table p on p.table_name::name = b.target
join pg_attribute a on a.attrelid = p.target::oid and a.attname = 'company_id'
