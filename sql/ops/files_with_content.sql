-- $1 files
select count(*) from files where id = any ($1) and object_key is not null
