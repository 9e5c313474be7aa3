-- Sales and activities of each member of the company, and of former members who left deals or completed activities. A
-- user who waits for an admin's approval is not a member yet.
with deal as (
  select d.owner_id, sum(d.deals) as deals, sum(d.value) as value, coalesce(sum(d.deals) filter (where d.status = 'won'), 0) as won
  from app.deals_made('-infinity', 'infinity') d group by 1 having sum(d.deals) > 0
), done as (
  select a.owner_id, count(*) as done from activities a where a.type in ('call', 'email', 'meeting', 'task') and a.status = 'completed' group by 1
), person as materialized (
  select m.user_id, coalesce(nullif(concat_ws(' ', u.first_name, u.last_name), ''), 'Former member') as name, coalesce(d.deals, 0) as deals,
    coalesce(d.value, 0) as value, coalesce(d.won, 0) as won, coalesce(a.done, 0) as done
  from members m left join users u on u.id = m.user_id left join deal d on d.owner_id = m.user_id left join done a on a.owner_id = m.user_id
  where (not u.is_deleted and u.status <> 'pending') or d.deals > 0 or a.done > 0
)
select jsonb_build_object(
  'user_performance', coalesce(jsonb_agg(jsonb_build_object('user_name', p.name, 'deals_count', p.deals, 'deals_value', p.value,
    'activities_completed', p.done, 'conversion_rate', app.percent(p.won, p.deals)) order by p.value desc, p.deals desc, p.done desc, p.user_id), '[]'),
  'summary', jsonb_build_object('total_users', count(*), 'avg_deals_per_user', app.ratio(sum(p.deals), count(*)),
    'avg_value_per_user', app.ratio(sum(p.value), count(*)),
    'top_performer', coalesce((select t.name from person t where t.value > 0 order by t.value desc, t.deals desc, t.done desc, t.user_id limit 1), '')))
from person p
