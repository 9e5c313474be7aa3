-- Generates messages with companies' contacts, in the order of their numbers and spread over two years; one in fifty is
-- historical: it has no company and belongs to its user.
-- $1 companies   $2 first number   $3 last number   $4 how many the company has in the end: each an array
with people as materialized (
  select company_id, array_agg(id order by created_at, id) as ids from users where company_id = any($1) group by company_id
), known as materialized (
  select tenant_id, array_agg(id order by created_at, id) as ids from contacts where tenant_id = any($1) and not is_deleted group by tenant_id
), words as materialized (
  select
    array['Good morning', 'Hello', 'Hi', 'Good afternoon', 'Thanks', 'Quick question', 'Following up', 'One more thing'] as openings,
    array['could we move the meeting to Thursday?', 'the quote is in your inbox.', 'is the delivery still on for next week?',
      'we would like to order the same again.', 'can you call me back after four?', 'the invoice has been paid.',
      'who should I talk to about the renewal?', 'your technician was great today.', 'please send me the new price list.',
      'the contract is signed, see you on Monday.', 'we have decided to wait until spring.', 'do you also work on weekends?'] as matters
), made as (
  select g.company, n,
    p.ids[1 + floor(random() * cardinality(p.ids))::int] as user_id,
    k.ids[1 + floor(random() ^ 2 * cardinality(k.ids))::int] as contact_id,
    w.openings[1 + floor(random() * cardinality(w.openings))::int] || ', '
      || w.matters[1 + floor(random() * cardinality(w.matters))::int] as body,
    random() < 0.5 as inbound,
    random() < 0.02 as historical,
    now() - interval '2 years' * (1 - (n - random()) / g.total) as moment
  from unnest($1::uuid[], $2::int[], $3::int[], $4::int[]) as g (company, first, last, total)
  join people p on p.company_id = g.company
  left join known k on k.tenant_id = g.company
  cross join words w
  cross join lateral generate_series(g.first, g.last) as n
)
insert into sms_messages (tenant_id, company_id, user_id, contact_id, direction, status, from_address, to_address, body, created_at, updated_at)
select company, case when not historical then company end, user_id, contact_id,
  case when inbound then 'inbound' else 'outbound' end, case when inbound then 'received' else 'delivered' end,
  case when inbound then '+13035550' || lpad((n % 1000)::text, 3, '0') else '+12065550100' end,
  case when inbound then '+12065550100' else '+13035550' || lpad((n % 1000)::text, 3, '0') end, body, moment, moment
from made
