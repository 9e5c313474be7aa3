-- $1 contact id
update contacts set is_deleted = true, updated_at = now()
where id = $1 and not is_deleted
returning first_name, last_name, email, phone, company, title, type, id, owner_id, status, created_at, updated_at, is_deleted
