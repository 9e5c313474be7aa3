-- Whether a table allows no historical rows any more, and its owner's column.
-- $1 table
select a.attnotnull as insists, p.owner::text as owner
from app.protected_table p join pg_attribute a on a.attrelid = p.target and a.attname = 'company_id'
where p.table_name = $1
