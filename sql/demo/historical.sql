-- Rows from before companies existed, some for each of the company's users; only that user sees them.
-- $1 company
with person as (
  select u.*, row_number() over (order by created_at, id) as n from users u where company_id = $1
), message as (
  insert into sms_messages (tenant_id, company_id, user_id, direction, status, from_address, to_address, body, created_at, updated_at)
  select $1, null, p.id, 'inbound', 'received', '+1303555010' || t.n, '+12065550100',
    replace(t.text, '{name}', p.first_name), d.moment, d.moment
  from person p
  cross join unnest(array[
    'Hi {name}, this is the number you gave me at the fair.',
    '{name}, are you still the one to ask about last year''s order?',
    'Thank you for your help, {name}!']) with ordinality as t (text, n)
  cross join lateral (select now() - interval '40 days' - interval '3 days' * t.n - interval '5 hours' * p.n as moment) d
)
insert into calls (tenant_id, company_id, user_id, direction, status, from_address, to_address, duration, notes, started_at,
  ended_at, created_at, updated_at)
select $1, null, p.id, 'outbound', 'completed', '+12065550100', '+1303555010' || k, 60 * k, 'Call of ' || p.first_name || ' from before the move',
  d.moment, d.moment + interval '1 minute' * k, d.moment, d.moment
from person p
cross join generate_series(1, 2) as k
cross join lateral (select now() - interval '45 days' - interval '4 days' * k - interval '3 hours' * p.n as moment) d
