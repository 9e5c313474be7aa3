-- $1 user id
select email from users where id = $1 and not is_deleted
