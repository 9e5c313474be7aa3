-- The users among these to whom a row may be given.
-- $1 user ids
select id from users where id = any($1) and not is_deleted and status <> 'pending'
