-- $1 folder ids
update files set is_deleted = true, updated_at = now() where folder_id = any ($1) and not is_deleted returning id
