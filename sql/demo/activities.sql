-- Done, planned and overdue activities for the company's deals.
-- $1 company
insert into activities (tenant_id, company_id, owner_id, type, subject, description, status, due_date, completed_at, duration_minutes,
  contact_id, deal_id, priority, created_at, updated_at)
select $1, $1, d.owner_id, t.type, t.subject || ' ' || c.first_name || ' ' || c.last_name, d.title,
  case when t.days < 0 and d.n % 3 > 0 then 'completed' else 'pending' end, now() + interval '1 day' * t.days + interval '1 hour' * d.n,
  case when t.days < 0 and d.n % 3 > 0 then now() + interval '1 day' * t.days end, t.minutes, d.contact_id, d.id, d.n % 3,
  now() - interval '9 days', now() - interval '9 days'
from (select *, row_number() over (order by created_at, id)::int as n from deals where tenant_id = $1) d
join contacts c on c.id = d.contact_id
cross join (values ('call', 'Call', -4, 15), ('email', 'Write to', 1, null), ('meeting', 'Meet', 3, 60), ('task', 'Prepare the papers for', -1, 30))
  as t (type, subject, days, minutes)
where (d.n + t.days) % 2 = 0
