-- The unique keys made of these columns.
-- $1 table   $2 columns
select i.indexrelid::regclass::text as name,
  (select array_agg(pg_get_indexdef(i.indexrelid, k, true) order by k) from generate_series(1, i.indnkeyatts) k) as parts,
  coalesce(pg_get_expr(i.indpred, i.indrelid), 'true') as only
from pg_index i
where i.indrelid = $1::text::regclass and i.indisunique
  and not exists (select from pg_depend d join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
    where d.objid = i.indexrelid and d.refobjid = i.indrelid and a.attname <> all ($2::text[]::name[]))
  -- A constraint's columns stand for those of its index.
  and not exists (select from pg_attribute a where a.attrelid = i.indrelid and a.attnum = any (i.indkey) and a.attname <> all ($2::text[]::name[]))
order by 1
