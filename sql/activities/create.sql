-- $1 type   $2 subject   $3 description   $4 status   $5 due   $6 minutes   $7 priority   $8 contact   $9 deal: each of the last two or null
insert into activities (type, subject, description, status, due_date, duration_minutes, priority, contact_id, deal_id)
select $1, app.new_activity_subject($2, $5), $3, $4, $5, $6, coalesce($7, 0),
  app.found('Contact', $8, (select c.id from contacts c where c.id = $8 and not c.is_deleted)),
  app.found('Deal', $9, (select d.id from deals d where d.id = $9 and not d.is_deleted))
returning id, subject, coalesce(description, '') as description, type, status, contact_id, deal_id, due_date, completed_at, duration_minutes, location,
  outcome, priority, owner_id, created_at, updated_at
