-- Generates activities for companies' deals, spread over two years; those due are done, except one in ten.
-- $1 companies   $2 first number   $3 last number   $4 how many the company has in the end: each an array
with people as materialized (
  select company_id, array_agg(id order by created_at, id) as ids from users where company_id = any($1) group by company_id
), made as (
  select g.company, n,
    p.ids[1 + floor(random() * cardinality(p.ids))::int] as owner_id,
    (array['call', 'email', 'meeting', 'task'])[1 + floor(random() * 4)::int] as type,
    now() - interval '2 years' * (1 - (n - random()) / g.total) + interval '20 days' as due,
    random() < 0.1 as late
  from unnest($1::uuid[], $2::int[], $3::int[], $4::int[]) as g (company, first, last, total)
  join people p on p.company_id = g.company
  cross join lateral generate_series(g.first, g.last) as n
)
insert into activities (tenant_id, company_id, owner_id, type, subject, status, due_date, completed_at, contact_id, deal_id, priority,
  created_at, updated_at)
select company, company, m.owner_id, type, initcap(type) || ' ' || n, case when late or due > now() then 'pending' else 'completed' end, due,
  case when not late and due <= now() then due end, d.contact_id, d.id, n % 3, due - interval '5 days', due - interval '5 days'
from made m
left join lateral (
  select d.id, d.contact_id from deals d
  where d.tenant_id = m.company and d.created_at >= m.due - interval '25 days' and not d.is_deleted order by d.created_at, d.id limit 1
) d on true
