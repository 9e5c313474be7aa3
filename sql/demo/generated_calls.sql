-- Generates calls with companies' contacts, in the order of their numbers and spread over two years.
-- $1 companies   $2 first number   $3 last number   $4 how many the company has in the end: each an array
with people as materialized (
  select company_id, array_agg(id order by created_at, id) as ids from users where company_id = any($1) group by company_id
), known as materialized (
  select tenant_id, array_agg(id order by created_at, id) as ids from contacts where tenant_id = any($1) and not is_deleted group by tenant_id
), made as (
  select g.company, n,
    p.ids[1 + floor(random() * cardinality(p.ids))::int] as user_id,
    k.ids[1 + floor(random() ^ 2 * cardinality(k.ids))::int] as contact_id,
    random() < 0.5 as inbound,
    (array['completed', 'completed', 'completed', 'no-answer', 'busy'])[1 + floor(random() * 5)::int] as status,
    now() - interval '2 years' * (1 - (n - random()) / g.total) as moment
  from unnest($1::uuid[], $2::int[], $3::int[], $4::int[]) as g (company, first, last, total)
  join people p on p.company_id = g.company
  left join known k on k.tenant_id = g.company
  cross join lateral generate_series(g.first, g.last) as n
)
insert into calls (tenant_id, company_id, user_id, contact_id, direction, status, from_address, to_address, duration, notes, started_at, ended_at,
  created_at, updated_at)
select company, company, user_id, contact_id, case when inbound then 'inbound' else 'outbound' end, status,
  case when inbound then '+13035550' || lpad((n % 1000)::text, 3, '0') else '+12065550100' end,
  case when inbound then '+12065550100' else '+13035550' || lpad((n % 1000)::text, 3, '0') end,
  talked, case when talked > 0 then 'Call ' || n end, moment, moment + interval '1 second' * talked, moment, moment
from made
cross join lateral (select case status when 'completed' then 30 + n % 900 else 0 end) as t (talked)
