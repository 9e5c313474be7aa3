-- Contacts with this text in their name, e-mail, phone or employer (app.contacts_containing).
-- $1 text   $2 start of a name, or null   $3 type   $4 status   $5 owner: each or null   $6 limit   $7 skip
select first_name, last_name, email, phone, company, title, type, id, owner_id, status, created_at, updated_at, is_deleted
from app.contacts_containing(app.contains($1))
where not is_deleted
  and ($2::text is null or first_name_lc ^@ lower($2) or last_name_lc ^@ lower($2))
  and ($3::text is null or type = $3)
  and ($4::text is null or status = upper($4))
  and ($5::uuid is null or owner_id = $5)
-- cursor: and (created_at, id) > ($8, $9)
order by created_at, id
limit $6 offset $7
