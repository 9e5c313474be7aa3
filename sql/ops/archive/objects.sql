-- $1 company
select id, object_key from files where tenant_id = $1 and object_key is not null order by id
