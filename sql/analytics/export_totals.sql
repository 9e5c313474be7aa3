-- What the PDF of a company's deals prints (src/pdf/report.rs): deals created in a period, by stage and by month.
-- $1 first day   $2 last day   $3 owner   $4 pipeline: each null for all
with p as materialized (
  select * from app.period($1, $2)
), made as materialized (
  select d.stage_id, d.status, sum(d.deals) as deals, sum(d.value) as value
  from p, app.deals_made(p.starts, p.ends) d
  where ($3::uuid is null or d.owner_id = $3) and ($4::uuid is null or d.pipeline_id = $4)
  group by 1, 2
), stage as (
  select s.name, s.order_index, sum(m.deals) as deals, sum(m.value) as value
  from made m join pipeline_stages s on s.id = m.stage_id group by 1, 2 having sum(m.deals) > 0
), month as (
  -- The last twelve months of the period, up to the current one.
  select m::date as month, greatest(app.midnight(m::date, p.zone), p.starts) as starts, least(app.midnight((m + interval '1 month')::date, p.zone), p.ends) as ends
  from p, lateral (select date_trunc('month', least(now(), p.ends - interval '1 microsecond') at time zone p.zone) as last) l,
    generate_series(l.last - interval '11 months', l.last, interval '1 month') m
), won as (
  select m.month, coalesce(sum(d.value), 0) as value, coalesce(sum(d.value) filter (where d.status = 'won'), 0) as won
  from month m left join lateral (select d.value, d.status, d.owner_id, d.pipeline_id from app.deals_made(m.starts, m.ends) d) d
    on m.starts < m.ends and ($3::uuid is null or d.owner_id = $3) and ($4::uuid is null or d.pipeline_id = $4)
  group by 1
)
select jsonb_build_object('whose', coalesce(app.company_id(), app.user_id()), 'company', (select c.name from companies c), 'first_day', $1::date, 'last_day', $2::date,
  'generated', to_char(now() at time zone p.zone, 'YYYY-MM-DD HH24:MI') || ' ' || p.zone,
  'currency', (select c.currency from companies c),
  'deals', coalesce(sum(m.deals), 0), 'value', coalesce(sum(m.value), 0)::float8,
  'won', coalesce(sum(m.deals) filter (where m.status = 'won'), 0), 'won_value', coalesce(sum(m.value) filter (where m.status = 'won'), 0)::float8,
  'stages', coalesce((select jsonb_agg(jsonb_build_object('name', s.name, 'deals', s.deals, 'value', s.value) order by s.order_index, s.name) from stage s), '[]'),
  'months', (select jsonb_agg(jsonb_build_object('month', to_char(w.month, 'YYYY-MM'), 'value', w.value, 'won', w.won) order by w.month) from won w))
from p left join made m on true
group by p.zone
