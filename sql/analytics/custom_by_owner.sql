-- Figures of a period by member or by team.
-- $1 first day   $2 last day   $3 owner   $4 pipeline   $5 team: each null for all   $6 user or team
with p as materialized (
  select * from app.period($1, $2)
), part as (
  select d.owner_id, coalesce(sum(d.value) filter (where d.status = 'won'), 0) as revenue, sum(d.deals) as deals, 0 as activities
  from p, app.deals_made(p.starts, p.ends) d where $4::uuid is null or d.pipeline_id = $4 group by 1
  union all
  select a.owner_id, 0, 0, count(*) from p, activities a
  where a.type in ('call', 'email', 'meeting', 'task') and a.created_at >= p.starts and a.created_at < p.ends group by 1
), made as (
  select case when $6 = 'user' then m.owner_id else u.team_id end as id, max(case when $6 = 'user' then concat_ws(' ', u.first_name, u.last_name) end) as name,
    sum(m.revenue) as revenue, sum(m.deals) as deals, sum(m.activities) as activities
  from part m left join users u on u.id = m.owner_id
  where ($3::uuid is null or m.owner_id = $3) and ($5::uuid is null or u.team_id = $5)
  group by 1 having sum(m.deals) > 0 or sum(m.activities) > 0
)
select coalesce(jsonb_agg(case when $6 = 'user'
      then jsonb_build_object('user_id', m.id, 'user_name', coalesce(nullif(m.name, ''), 'Former member'))
      else jsonb_build_object('team_id', m.id, 'team_name', coalesce((select t.name from teams t where t.id = m.id), 'No team')) end
    || jsonb_build_object('revenue', m.revenue, 'deals', m.deals, 'activities', m.activities)
  order by m.revenue desc, m.deals desc, m.activities desc, m.id), '[]')
from made m
