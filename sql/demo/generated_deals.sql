-- Generates deals with companies' contacts, in the order of their numbers and spread over two years.
-- $1 companies   $2 first number   $3 last number   $4 how many the company has in the end: each an array
with people as materialized (
  select company_id, array_agg(id order by created_at, id) as ids from users where company_id = any($1) group by company_id
), stage as materialized (
  select tenant_id, array_agg(id order by order_index) as ids, array_agg(pipeline_id order by order_index) as pipelines,
    array_agg(name order by order_index) as names
  from pipeline_stages where tenant_id = any($1) and not is_deleted group by tenant_id
), made as (
  select g.company, n, s.ids, s.pipelines, s.names,
    p.ids[1 + floor(random() * cardinality(p.ids))::int] as owner_id,
    1 + floor(random() * cardinality(s.ids))::int as place,
    (array['Renewal', 'First order', 'Extension', 'Maintenance', 'Pilot', 'Relocation'])[1 + floor(random() * 6)::int] as what,
    now() - interval '2 years' * (1 - (n - random()) / g.total) as moment
  from unnest($1::uuid[], $2::int[], $3::int[], $4::int[]) as g (company, first, last, total)
  join people p on p.company_id = g.company
  join stage s on s.tenant_id = g.company
  cross join lateral generate_series(g.first, g.last) as n
)
insert into deals (tenant_id, company_id, owner_id, title, value, pipeline_id, stage_id, status, contact_id, expected_close_date,
  actual_close_date, created_at, updated_at)
-- The first contact created since then: an array of all would be carried along with every row.
select company, company, owner_id, what || ' ' || n, 100 + n % 900 * 25, pipelines[place], ids[place],
  case names[place] when 'Closed Won' then 'won' when 'Closed Lost' then 'lost' else 'open' end, 
  (select c.id from contacts c where c.tenant_id = m.company and c.created_at >= m.moment and not c.is_deleted order by c.created_at, c.id limit 1),
  moment + interval '40 days',
  case when names[place] like 'Closed%' then moment + interval '30 days' end, moment, moment
from made m
