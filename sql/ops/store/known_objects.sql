-- How many of these objects are the content of files in the database.
-- $1 files   $2 keys of objects
select count(*) from files where id = any ($1) and object_key = any ($2)
