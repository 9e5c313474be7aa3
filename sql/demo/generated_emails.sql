-- Generates mails with companies' contacts, in the order of their numbers and spread over two years.
-- $1 companies   $2 first number   $3 last number   $4 how many the company has in the end: each an array
with people as materialized (
  select company_id, array_agg(id order by created_at, id) as ids, array_agg(email order by created_at, id) as addresses
  from users where company_id = any($1) group by company_id
), known as materialized (
  select tenant_id, array_agg(id order by created_at, id) as ids from contacts where tenant_id = any($1) and not is_deleted group by tenant_id
), made as (
  select g.company, n, p.ids, p.addresses,
    1 + floor(random() * cardinality(p.ids))::int as person,
    k.ids[1 + floor(random() ^ 2 * cardinality(k.ids))::int] as contact_id,
    (array['Your order', 'Our meeting', 'The contract', 'Delivery next week', 'A question', 'Price list'])[1 + floor(random() * 6)::int] as subject,
    random() < 0.4 as inbound,
    random() < 0.7 as read,
    now() - interval '2 years' * (1 - (n - random()) / g.total) as moment
  from unnest($1::uuid[], $2::int[], $3::int[], $4::int[]) as g (company, first, last, total)
  join people p on p.company_id = g.company
  left join known k on k.tenant_id = g.company
  cross join lateral generate_series(g.first, g.last) as n
)
insert into emails (tenant_id, company_id, user_id, contact_id, direction, status, from_email, to_email, subject, body, sent_at, read_at, created_at, updated_at)
select company, company, ids[person], contact_id,
  case when inbound then 'inbound' else 'outbound' end,
  case when inbound then 'received' when read then 'opened' else 'sent' end,
  case when inbound then 'person' || n || '@mail.example' else addresses[person] end,
  case when inbound then addresses[person] else 'person' || n || '@mail.example' end,
  subject || ' ' || n,
  '<p>Good morning,</p><p>' || repeat('thank you for your time, we will come back to you with the details. ', 1 + n % 6) || '</p><p>Mail ' || n || '</p>',
  case when not inbound then moment end, case when inbound and read then moment + interval '3 hours' end, moment, moment
from made
