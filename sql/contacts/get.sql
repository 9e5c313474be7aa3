-- $1 contact id
select first_name, last_name, email, phone, company, title, type, id, owner_id, status, created_at, updated_at, is_deleted
from contacts where id = $1 and not is_deleted
