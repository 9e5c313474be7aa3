-- The company's activities by due time; those without one come last.
-- $1 limit   $2 skip
select id, subject, coalesce(description, '') as description, type, status, contact_id, deal_id, due_date, completed_at, duration_minutes, location,
  outcome, priority, owner_id, created_at, updated_at, due_order
from activities
where true
-- cursor: and (due_order, created_at, id) > ($3, $4, $5)
order by due_order, created_at, id
limit $1 offset $2
