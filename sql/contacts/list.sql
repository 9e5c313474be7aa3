-- The company's contacts, in order of creation.
-- $1 limit   $2 skip
select first_name, last_name, email, phone, company, title, type, id, owner_id, status, created_at, updated_at, is_deleted
from contacts
where not is_deleted
-- cursor: and (created_at, id) > ($3, $4)
order by created_at, id
limit $1 offset $2
