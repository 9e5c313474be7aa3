update notifications set is_deleted = true, updated_at = now() where not is_deleted
returning id
