-- $1 email, lower-cased
select id from users where email = $1 and not is_deleted
