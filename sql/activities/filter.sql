-- The company's activities of a type or status, in the order of activities/list.
-- $1 type   $2 status   $3 whether completed: each or null   $4 limit   $5 skip
select id, subject, coalesce(description, '') as description, type, status, contact_id, deal_id, due_date, completed_at, duration_minutes, location,
  outcome, priority, owner_id, created_at, updated_at, due_order
from activities
where ($1::text is null or type = $1)
  and ($2::text is null or status = $2 or ($2 = 'overdue' and status = 'pending' and due_date < now()))
  and ($3::bool is null or (status = 'completed') = $3)
-- cursor: and (due_order, created_at, id) > ($6, $7, $8)
order by due_order, created_at, id
limit $4 offset $5
