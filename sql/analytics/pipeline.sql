-- The deals of a period by stage and by owner; durations in days.
-- $1 first day   $2 last day   $3 owner   $4 pipeline: each null for all
with made as materialized (
  select d.owner_id, d.stage_id, d.status, sum(d.deals) as deals, sum(d.value) as value, sum(d.stage_seconds) as stage_seconds,
    sum(d.running) as running, sum(d.closed) as closed, sum(d.closed_seconds) as closed_seconds
  from app.period($1, $2) p, app.deals_made(p.starts, p.ends) d
  where ($3::uuid is null or d.owner_id = $3) and ($4::uuid is null or d.pipeline_id = $4)
  group by 1, 2, 3
), stage as (
  select s.id, s.name, s.order_index, sum(m.deals) as deals, sum(m.value) as value,
    coalesce(sum(m.deals) filter (where m.status = 'won'), 0) as won, coalesce(sum(m.deals) filter (where m.status = 'lost'), 0) as lost,
    sum(m.stage_seconds + m.running * extract(epoch from now())) / 86400 as days
  from made m join pipeline_stages s on s.id = m.stage_id
  group by s.id having sum(m.deals) > 0
), owner as (
  select m.owner_id, coalesce(nullif(min(concat_ws(' ', u.first_name, u.last_name)), ''), 'Former member') as name, sum(m.deals) as deals, sum(m.value) as value
  from made m left join users u on u.id = m.owner_id
  group by 1 having sum(m.deals) > 0
), total as (
  select coalesce(sum(deals), 0) as deals, coalesce(sum(value), 0) as value, coalesce(sum(closed), 0) as closed, sum(closed_seconds) as closed_seconds from made
)
select jsonb_build_object(
  'filters', jsonb_build_object('date_from', $1::date, 'date_to', $2::date, 'pipeline_id', $4::uuid),
  'pipeline_analytics', coalesce((select jsonb_agg(jsonb_build_object('stage_id', s.id, 'stage_name', s.name, 'deal_count', s.deals,
      'total_value', s.value, 'avg_value', app.ratio(s.value, s.deals), 'deals_won', s.won, 'deals_lost', s.lost,
      'win_rate', app.percent(s.won, s.won + s.lost, 2), 'conversion_rate', app.percent(s.won, s.deals), 'avg_duration', app.ratio(s.days, s.deals, 1))
    order by s.order_index, s.name, s.id) from stage s), '[]'),
  'deals_by_owner', coalesce((select jsonb_agg(jsonb_build_object('owner_name', o.name, 'deal_count', o.deals, 'total_value', o.value)
    order by o.value desc, o.deals desc, o.owner_id) from owner o), '[]'),
  'avg_deal_duration', app.ratio(t.closed_seconds, t.closed * 86400, 1),
  'summary', jsonb_build_object('total_deals', t.deals, 'total_value', t.value, 'avg_deal_size', app.ratio(t.value, t.deals)))
from total t
