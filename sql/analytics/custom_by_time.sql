-- Figures of a period by day, week (ISO 8601) or month, where there are any. Rows are read one day at a time, so that
-- time zone conversion happens once per day and not per row.
-- $1 first day   $2 last day   $3 owner   $4 pipeline   $5 team: each null for all   $6 day, week or month
with recursive p as materialized (
  -- An operator or an import may have written a time outside the range of dates.
  select q.zone, greatest(q.starts, '0001-01-02Z') as starts, least(q.ends, '9999-12-30Z') as ends from app.period($1, $2) q
), day (day) as (
  select least(
    (select (d.created_at at time zone p.zone)::date from deals d
      where not d.is_deleted and d.created_at >= p.starts and d.created_at < p.ends order by d.created_at limit 1),
    (select (a.created_at at time zone p.zone)::date from activities a
      where a.type in ('call', 'email', 'meeting', 'task') and a.created_at >= p.starts and a.created_at < p.ends order by a.created_at limit 1)) from p
  union all
  select least(
    (select (x.created_at at time zone p.zone)::date from deals x
      where not x.is_deleted and x.created_at >= app.midnight(d.day + 1, p.zone) and x.created_at < p.ends order by x.created_at limit 1),
    (select (a.created_at at time zone p.zone)::date from activities a
      where a.type in ('call', 'email', 'meeting', 'task')
        and a.created_at >= app.midnight(d.day + 1, p.zone) and a.created_at < p.ends order by a.created_at limit 1))
  from day d, p where d.day is not null
), team as materialized (
  select u.id from users u where u.team_id = $5
), made as (
  select d.day, x.revenue, x.deals, a.activities
  from (select day, app.midnight(day, p.zone) as starts, app.midnight(day + 1, p.zone) as ends from day, p where day is not null) d
  cross join lateral (
    select coalesce(sum(x.value) filter (where x.status = 'won'), 0) as revenue, count(*) as deals from deals x
    where not x.is_deleted and x.created_at >= d.starts and x.created_at < d.ends and ($3::uuid is null or x.owner_id = $3)
      and ($4::uuid is null or x.pipeline_id = $4) and ($5::uuid is null or x.owner_id in (select t.id from team t))) x
  cross join lateral (
    select count(*) as activities from activities a
    where a.type in ('call', 'email', 'meeting', 'task') and a.created_at >= d.starts and a.created_at < d.ends and ($3::uuid is null or a.owner_id = $3)
      and ($5::uuid is null or a.owner_id in (select t.id from team t))) a
), grouped as (
  select to_char(m.day, case $6 when 'day' then 'YYYY-MM-DD' when 'week' then 'IYYY-"W"IW' else 'YYYY-MM' end) as label, min(m.day) as day,
    sum(m.revenue) as revenue, sum(m.deals) as deals, sum(m.activities) as activities
  from made m group by 1 having sum(m.deals) > 0 or sum(m.activities) > 0
)
select coalesce(jsonb_agg(jsonb_build_object(case $6 when 'day' then 'date' else $6 end, g.label, 'revenue', g.revenue, 'deals', g.deals,
  'activities', g.activities) order by g.day), '[]')
from grouped g
