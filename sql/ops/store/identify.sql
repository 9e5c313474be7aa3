-- The same as app.identify(), for an administrator. $1 files
select i.id, exists (select from files f where f.id = any ($1)) as has_one from ops.database_identity i
