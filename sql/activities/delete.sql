-- $1 activity id
delete from activities where id = $1
returning id, subject, coalesce(description, '') as description, type, status, contact_id, deal_id, due_date, completed_at, duration_minutes, location,
  outcome, priority, owner_id, created_at, updated_at
