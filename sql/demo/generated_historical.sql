-- Generates messages from before companies existed, spread over two years: they have no company and belong to their
-- users.
-- $1 companies   $2 first number   $3 last number   $4 how many the company has in the end: each an array
with people as materialized (
  select company_id, array_agg(id order by created_at, id) as ids from users where company_id = any($1) group by company_id
), made as (
  select g.company, n, p.ids[1 + floor(random() * cardinality(p.ids))::int] as user_id, random() < 0.5 as inbound,
    now() - interval '2 years' * (1 - (n - random()) / g.total) as moment
  from unnest($1::uuid[], $2::int[], $3::int[], $4::int[]) as g (company, first, last, total)
  join people p on p.company_id = g.company
  cross join lateral generate_series(g.first, g.last) as n
)
-- Random keys, as in the old data.
insert into sms_messages (id, tenant_id, company_id, user_id, direction, status, from_address, to_address, body, created_at, updated_at)
select gen_random_uuid(), company, null, user_id, case when inbound then 'inbound' else 'outbound' end, case when inbound then 'received' else 'delivered' end,
  case when inbound then '+13035550' || lpad((n % 1000)::text, 3, '0') else '+12065550100' end,
  case when inbound then '+12065550100' else '+13035550' || lpad((n % 1000)::text, 3, '0') end, 'Message ' || n || ' of before', moment, moment
from made
