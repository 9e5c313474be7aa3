-- Revenue of each of the last six months, including the current one, by the company's time zone; growth is the last
-- month's.
with p as materialized (
  select app.company_zone() as zone
), month as materialized (
  select m::date as month, app.midnight(m::date, p.zone) as starts, app.midnight((m + interval '1 month')::date, p.zone) as ends
  from p, generate_series(date_trunc('month', now() at time zone p.zone) - interval '5 months',
    date_trunc('month', now() at time zone p.zone), interval '1 month') m
), won as materialized (
  select m.month, coalesce(sum(d.value), 0) as revenue, count(d.value) as deals
  from month m left join lateral (
    select d.value from deals d
    where d.status = 'won' and not d.is_deleted and d.actual_close_date >= m.starts and d.actual_close_date < m.ends
    union all
    select d.value from deals d
    where d.status = 'won' and not d.is_deleted and d.actual_close_date is null and d.updated_at >= m.starts and d.updated_at < m.ends) d on true
  group by 1
)
select jsonb_build_object(
  'monthly_revenue', jsonb_agg(jsonb_build_object('month', to_char(w.month, 'YYYY-MM'), 'revenue', w.revenue, 'deal_count', w.deals) order by w.month),
  'summary', jsonb_build_object('total_revenue', sum(w.revenue), 'total_deals', sum(w.deals), 'avg_deal_size', app.ratio(sum(w.revenue), sum(w.deals)),
    'growth_rate', (select app.growth(n.revenue, b.revenue) from won n join won b on b.month = (n.month - interval '1 month')::date
      where n.month = (select max(month) from won))))
from won w
