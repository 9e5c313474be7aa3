-- Removes a user's name; rows they created stay with the company.
-- $1 user
update users set is_deleted = true, first_name = 'Deleted', last_name = 'user', email = 'deleted-' || id || '@deleted.invalid',
  phone = null, title = null, department = null, location = null, bio = null, avatar = null, token_version = token_version + 1, updated_at = now()
where id = $1
