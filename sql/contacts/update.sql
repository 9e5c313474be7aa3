-- $1 contact id   $2 the columns to change   $3 owner, or null when unchanged
update contacts c set updated_at = now(), (first_name, last_name, email, phone, company, title, type, status, owner_id) = (
  select n.first_name, n.last_name, n.email, n.phone, n.company, n.title, n.type, n.status,
    coalesce(app.next_owner(nullif($3, c.owner_id), c.company_id is null), c.owner_id)
  from jsonb_populate_record(c, $2) n)
where c.id = $1 and not c.is_deleted
returning first_name, last_name, email, phone, company, title, type, id, owner_id, status, created_at, updated_at, is_deleted
