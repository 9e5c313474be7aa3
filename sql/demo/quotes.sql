-- Quotes for half of the company's deals, with their lines.
-- $1 company
with made as (
  insert into quotes (tenant_id, company_id, owner_id, quote_number, title, amount, status, client_id, deal_id, valid_until, description, terms,
    created_at, updated_at)
  select $1, $1, d.owner_id, format('QT-%s-%s', extract(year from now()), lpad(d.n::text, 3, '0')), 'Quote: ' || d.title, d.value,
    (array['draft', 'sent', 'accepted', 'sent', 'rejected'])[1 + d.n % 5], d.contact_id, d.id, current_date + 14 + d.n,
    'As we discussed. Delivery and installation are part of the price.', 'Half of the amount is due with the order, the rest on delivery.',
    now() - interval '1 day' * d.n, now() - interval '1 day' * d.n
  from (select *, row_number() over (order by created_at desc, id)::int as n from deals where tenant_id = $1) d
  where d.n <= 7
  returning id, owner_id, amount, substring(title from 8) as what
)
insert into quote_lines (tenant_id, company_id, owner_id, quote_id, position, description, quantity, unit_price, tax, discount)
select $1, $1, m.owner_id, m.id, l.position, case l.position when 1 then m.what else 'Installation and set-up' end,
  l.position, round(m.amount * 100 / 4)::bigint * case l.position when 1 then 2 else 1 end, 0, 0
from made m cross join (values (1), (2)) as l (position)
