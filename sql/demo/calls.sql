-- Calls with the company's contacts over the last weeks.
-- $1 company
insert into calls (tenant_id, company_id, user_id, contact_id, direction, status, from_address, to_address, duration, notes,
  started_at, ended_at, created_at, updated_at)
select $1, $1, c.owner_id, c.id, d.direction, d.status,
  case d.direction when 'inbound' then c.phone else '+12065550100' end,
  case d.direction when 'inbound' then '+12065550100' else c.phone end,
  d.duration, case when d.status = 'completed' then 'Talked with ' || c.first_name || ' of ' || c.company end,
  d.moment, d.moment + interval '1 second' * d.duration, d.moment, d.moment
from (select *, row_number() over (order by created_at desc, id) as n from contacts where tenant_id = $1) c
cross join lateral (
  select case c.n % 2 when 0 then 'inbound' else 'outbound' end as direction,
    case c.n % 5 when 3 then 'no-answer' when 4 then 'busy' else 'completed' end as status,
    case when c.n % 5 in (3, 4) then 0 else (60 + 97 * c.n % 900)::int end as duration,
    now() - interval '26 hours' * c.n as moment
) d
where c.n <= 18
