-- $1 user id
update users set is_deleted = true, updated_at = now() where id = $1 and not is_deleted returning id
