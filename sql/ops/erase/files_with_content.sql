-- The keys of files' contents. $1 files
select object_key from files where id = any ($1) and object_key is not null
