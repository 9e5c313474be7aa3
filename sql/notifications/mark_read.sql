-- $1 notification id
update notifications set read = true, updated_at = now() where id = $1 and not is_deleted
returning id, title, message, type, read, created_at, link
