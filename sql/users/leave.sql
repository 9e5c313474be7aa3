-- Removes the caller's own account. Rows they created stay with the company, without their name.
update users set is_deleted = true, first_name = 'Deleted', last_name = 'user', email = 'deleted-' || id || '@deleted.invalid',
  phone = null, title = null, department = null, location = null, bio = null, avatar = null, updated_at = now()
where id = app.user_id() and not is_deleted
returning id
