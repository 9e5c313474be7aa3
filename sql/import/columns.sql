-- Defaults that call a function of ours apply to new rows only, not to imported ones.
-- $1 table
select a.attname::text as name, a.attnotnull as required, a.atttypid in ('timestamptz'::regtype, 'date'::regtype) as is_time,
  case when pg_get_expr(d.adbin, d.adrelid) !~ '\mapp\.' then pg_get_expr(d.adbin, d.adrelid) end as fallback
from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
where a.attrelid = $1::text::regclass and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
order by a.attnum
