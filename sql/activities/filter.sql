-- The company's activities of a type, status, contact or deal, in the order of activities/list.
-- $1 type   $2 status   $3 whether completed   $4 contact   $5 deal: each or null   $6 limit   $7 skip
select id, subject, coalesce(description, '') as description, type, status, contact_id, deal_id, due_date, completed_at, duration_minutes, location,
  outcome, priority, owner_id, created_at, updated_at, due_order
from activities
where ($1::text is null or type = $1)
  and ($2::text is null or status = $2 or ($2 = 'overdue' and status = 'pending' and due_date < now()))
  and ($3::bool is null or (status = 'completed') = $3)
  and ($4::uuid is null or contact_id = $4)
  and ($5::uuid is null or deal_id = $5)
-- cursor: and (due_order, created_at, id) > ($8, $9, $10)
order by due_order, created_at, id
limit $6 offset $7
