-- Contacts whose first or last name has this prefix. `^@` is leakproof, so under the policy it still reads an index.
-- $1 start of a name, in any case   $2 type   $3 status   $4 owner: each or null   $5 limit   $6 skip
select first_name, last_name, email, phone, company, title, type, id, owner_id, status, created_at, updated_at, is_deleted
from contacts
where not is_deleted
  and (first_name_lc ^@ lower($1) or last_name_lc ^@ lower($1))
  and ($2::text is null or type = $2)
  and ($3::text is null or status = upper($3))
  and ($4::uuid is null or owner_id = $4)
-- cursor: and (created_at, id) > ($7, $8)
order by created_at, id
limit $5 offset $6
