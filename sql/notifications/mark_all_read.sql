update notifications set read = true, updated_at = now() where not is_deleted and not read
returning id
