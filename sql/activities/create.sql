-- $1 type   $2 subject   $3 description   $4 status   $5 due   $6 minutes   $7 priority   $8 contact
-- $9 deal: each of the last two or null
insert into activities (type, subject, description, status, due_date, duration_minutes, priority, contact_id, deal_id)
select $1, app.new_activity_subject($2, $5), $3, $4, $5, $6, coalesce($7, 0), app.found_contact($8), app.found_deal($9)
returning id, subject, coalesce(description, '') as description, type, status, contact_id, deal_id, due_date, completed_at, duration_minutes, location,
  outcome, priority, owner_id, created_at, updated_at
