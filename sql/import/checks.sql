-- The check constraints that involve only these columns.
-- $1 table   $2 columns
select pg_get_expr(k.conbin, k.conrelid) as rule from pg_constraint k
where k.conrelid = $1::text::regclass and k.contype = 'c'
  and not exists (select from pg_attribute a where a.attrelid = k.conrelid and a.attnum = any (k.conkey) and a.attname <> all ($2::text[]::name[]))
order by k.conname
