-- $1 id   $2 whether it is used
update phone_numbers set is_active = $2, detached_from = null, updated_at = now() where id = $1 and not is_deleted returning id
