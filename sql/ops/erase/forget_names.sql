-- Removes the names of users whom another company has rows of, because they were there before.
-- $1 company
update users set company_id = null, is_deleted = true, first_name = 'Deleted', last_name = 'user', email = 'deleted-' || id || '@deleted.invalid',
  phone = null, title = null, department = null, location = null, bio = null, avatar = null, updated_at = now()
where company_id = $1
