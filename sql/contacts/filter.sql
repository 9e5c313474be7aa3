-- Contacts of a type, status or owner, in order of creation.
-- $1 type   $2 status, in any case   $3 owner: each or null   $4 limit   $5 skip
select first_name, last_name, email, phone, company, title, type, id, owner_id, status, created_at, updated_at, is_deleted
from contacts
where not is_deleted
  and ($1::text is null or type = $1)
  and ($2::text is null or status = upper($2))
  and ($3::uuid is null or owner_id = $3)
-- cursor: and (created_at, id) > ($6, $7)
order by created_at, id
limit $4 offset $5
