-- Deals with the company's newest contacts, spread over the stages of its pipeline.
-- $1 company   $2 what is sold
insert into deals (tenant_id, company_id, owner_id, title, value, pipeline_id, stage_id, status, contact_id, company, probability,
  expected_close_date, actual_close_date, created_at, updated_at)
select $1, $1, c.owner_id, ($2::text[])[1 + c.n % cardinality($2)] || ' for ' || c.first_name || ' ' || c.last_name,
  1200 + 1375 * (c.n * 7 % 11), s.pipeline_id, s.id,
  case s.name when 'Closed Won' then 'won' when 'Closed Lost' then 'lost' else 'open' end,
  c.id, c.company, s.probability, now() + interval '1 day' * (c.n * 5 % 40 - 6),
  case when s.is_closed then now() - interval '3 days' * c.n end, now() - interval '4 days' * (c.n + 2), now() - interval '1 day' * c.n
from (select *, row_number() over (order by created_at desc, id)::int as n from contacts where tenant_id = $1) c
join (select *, row_number() over (order by order_index)::int - 1 as place, count(*) over ()::int as stages
      from pipeline_stages where tenant_id = $1) s on s.place = c.n % s.stages
where c.n <= 14
