-- Deals won in a period beside the previous one (as many days; the last calendar month if no period is given), and all
-- deals open now, with their growth over thirty days. `activities_today` counts those due today in the company's time
-- zone; a due day is stored as midnight in UTC.
-- $1 first day   $2 last day   $3 owner   $4 pipeline: each null for all
with zone as materialized (
  select z.zone, (now() at time zone z.zone)::date as today from app.company_zone() z (zone)
), day as (
  select z.today, case when $1::date is null then (date_trunc('month', z.today) - interval '1 month')::date
      -- Not before the first day that may be requested.
      else $1 - least(coalesce($2::date, z.today) - $1 + 1, $1 - date '0001-01-01') end as first,
    case when $1::date is null then date_trunc('month', z.today)::date - 1 else $1 - 1 end as last
  from zone z
), span as materialized (
  select 'now' as name, p.starts, p.ends from app.period($1, $2) p
  union all select 'before', p.starts, p.ends from day d, app.period(d.first, greatest(d.last, d.first - 1)) p
  union all select 'all', '-infinity', 'infinity'
  union all select 'month', now() - interval '720 hours', 'infinity'
  union all select 'month before', now() - interval '1440 hours', now() - interval '720 hours'
), week as materialized (  -- for an `or` the planner expects hardly a row, and sorts; neither column is null
  select w.week, w.stage_id, w.status, sum(w.deals) as deals, sum(w.value) as value from deal_sums w
  where coalesce(w.owner_id = $3::uuid, true) and coalesce(w.pipeline_id = $4::uuid, true)
  group by 1, 2, 3
), whole as materialized (  -- once per span, not per week
  select s.name as span, x.first, x.until from span s cross join lateral app.whole_weeks(s.starts, s.ends) x
), made as materialized (
  select d.span, d.stage_id, d.status, sum(d.deals) as deals, sum(d.value) as value
  from (
    select x.span, w.stage_id, w.status, w.deals, w.value from whole x join week w on w.week >= x.first and w.week < x.until
    union all
    select s.name, d.stage_id, d.status, d.deals, d.value from span s cross join lateral app.deals_beside_weeks(s.starts, s.ends) d
    where coalesce(d.owner_id = $3::uuid, true) and coalesce(d.pipeline_id = $4::uuid, true)) d
  group by 1, 2, 3
), sum as materialized (
  select s.name as span, coalesce(sum(m.value) filter (where m.status = 'won'), 0) as revenue,
    coalesce(sum(m.deals) filter (where m.status = 'won'), 0) as won,
    coalesce(sum(m.deals) filter (where m.status in ('won', 'lost')), 0) as decided,
    coalesce(sum(m.value) filter (where m.status = 'open'), 0) as open_value,
    coalesce(sum(m.deals) filter (where m.status = 'open'), 0) as open, coalesce(sum(m.value), 0) as value
  from span s left join made m on m.span = s.name group by 1
), stage as (
  select s.name, s.order_index, sum(m.deals) as deals, sum(m.value) as value
  from made m join pipeline_stages s on s.id = m.stage_id where m.span = 'all'
  group by 1, 2 having sum(m.deals) > 0
)
select jsonb_build_object(
  'kpis', jsonb_build_object(
    'total_revenue', n.revenue, 'revenue_growth', app.growth(n.revenue, b.revenue),
    'deals_won', n.won, 'deals_won_growth', app.growth(n.won, b.won),
    'win_rate', app.percent(n.won, n.decided),
    'win_rate_change', round(app.percent(n.won, n.decided, 9) - app.percent(b.won, b.decided, 9), 1),
    'avg_deal_size', app.ratio(n.revenue, n.won), 'avg_deal_growth', app.growth(app.ratio(n.revenue, n.won, 9), app.ratio(b.revenue, b.won, 9)),
    'total_pipeline', a.open_value,
    'pipeline_growth', case when m.open_value > 0 and mb.open_value = 0 then 100 else app.growth(m.open_value, mb.open_value) end,
    'active_deals', a.open, 'deal_growth', case when m.open > 0 and mb.open = 0 then 100 else app.growth(m.open, mb.open) end,
    'activities_today', (select count(*) from activities x where x.due_order >= (select z.today::timestamp at time zone 'UTC' from zone z)
      and x.due_order < (select (z.today + 1)::timestamp at time zone 'UTC' from zone z) and ($3::uuid is null or x.owner_id = $3))),
  'pipeline_by_stage', coalesce((select jsonb_agg(jsonb_build_object('stage_name', s.name, 'deal_count', s.deals, 'total_value', s.value,
    'percentage', app.percent(s.value, a.value)) order by s.order_index, s.name) from stage s), '[]'))
from sum n, sum b, sum a, sum m, sum mb
where n.span = 'now' and b.span = 'before' and a.span = 'all' and m.span = 'month' and mb.span = 'month before'
