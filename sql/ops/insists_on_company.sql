-- Whether a table has no place for historical rows any more, and the column that says whose a row is.
-- $1 table
select a.attnotnull as insists, p.owner::text as owner
from app.protected_table p join pg_attribute a on a.attrelid = p.target and a.attname = 'company_id'
where p.table_name = $1
