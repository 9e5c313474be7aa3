-- Messages with the company's first contacts, the last one today. Every third text is from the contact.
-- $1 company   $2 texts
insert into sms_messages (tenant_id, company_id, user_id, contact_id, direction, status, from_address, to_address, body, created_at, updated_at)
select $1, $1, c.owner_id, c.id, d.direction, case d.direction when 'inbound' then 'received' else 'delivered' end,
  case d.direction when 'inbound' then c.phone else '+12065550100' end,
  case d.direction when 'inbound' then '+12065550100' else c.phone end, t.text, d.moment, d.moment
from unnest($2::text[]) with ordinality as t (text, n)
join (select *, row_number() over (order by created_at, id) as n from contacts where tenant_id = $1) c on c.n = 1 + t.n % 8
cross join lateral (
  select case t.n % 3 when 0 then 'inbound' else 'outbound' end as direction,
    now() - interval '31 hours' * (cardinality($2) - t.n) - interval '7 minutes' as moment
) d
