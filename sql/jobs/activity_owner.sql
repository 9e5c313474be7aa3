-- $1 activity
select owner_id from activities where id = $1
