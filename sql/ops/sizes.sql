-- The size of each table with its indexes, and its number of rows by the last analyze.
select c.relname as table_name, pg_size_pretty(pg_table_size(c.oid)) as rows, pg_size_pretty(pg_indexes_size(c.oid)) as indexes,
  pg_size_pretty(pg_total_relation_size(c.oid)) as total, nullif(c.reltuples, -1)::bigint as row_estimate,
  s.n_dead_tup as dead, greatest(s.last_vacuum, s.last_autovacuum)::timestamp(0) as vacuumed
from pg_class c left join pg_stat_user_tables s on s.relid = c.oid
where c.relkind = 'r' and c.relnamespace in ('public'::regnamespace, 'app'::regnamespace)
order by pg_total_relation_size(c.oid) desc;
