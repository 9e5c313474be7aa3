-- Whether a table has no place for historical rows any more.
-- $1 table
select a.attnotnull from pg_attribute a where a.attrelid = $1::text::regclass and a.attname = 'company_id'
