-- Completes an activity, or reopens a completed one.
-- $1 activity id
update activities set status = case status when 'completed' then 'pending' else 'completed' end, updated_at = now()
where id = $1
returning id, subject, coalesce(description, '') as description, type, status, contact_id, deal_id, due_date, completed_at, duration_minutes, location,
  outcome, priority, owner_id, created_at, updated_at
