-- $1 table
select a.attname::text as name, a.attnotnull as required, pg_get_expr(d.adbin, d.adrelid) as fallback,
  a.atttypid = 'timestamptz'::regtype as is_time
from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
where a.attrelid = $1::text::regclass and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
order by a.attnum
