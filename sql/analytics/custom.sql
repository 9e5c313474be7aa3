-- Figures of a period as one record: deals created in it, and those of them that were won.
-- $1 first day   $2 last day   $3 owner   $4 pipeline   $5 team: each null for all
with p as materialized (
  select * from app.period($1, $2)
), deal as (
  select coalesce(sum(d.value) filter (where d.status = 'won'), 0) as revenue, coalesce(sum(d.deals), 0) as deals,
    coalesce(sum(d.deals) filter (where d.status = 'won'), 0) as won, coalesce(sum(d.deals) filter (where d.status in ('won', 'lost')), 0) as decided
  from p, app.deals_made(p.starts, p.ends) d
  where ($3::uuid is null or d.owner_id = $3) and ($4::uuid is null or d.pipeline_id = $4)
    and ($5::uuid is null or d.owner_id in (select u.id from users u where u.team_id = $5))
)
select jsonb_build_object('revenue', d.revenue, 'deals', d.deals, 'activities', (select count(*) from p, activities a
    where a.type in ('call', 'email', 'meeting', 'task') and a.created_at >= p.starts and a.created_at < p.ends
      and ($3::uuid is null or a.owner_id = $3)
      and ($5::uuid is null or a.owner_id in (select u.id from users u where u.team_id = $5))),
  'contacts', (select count(*) from p, contacts c
    where not c.is_deleted and c.created_at >= p.starts and c.created_at < p.ends and ($3::uuid is null or c.owner_id = $3)
      and ($5::uuid is null or c.owner_id in (select u.id from users u where u.team_id = $5))),
  'conversion_rate', app.percent(d.won, d.deals), 'avg_deal_size', app.ratio(d.revenue, d.won), 'win_rate', app.percent(d.won, d.decided))
from deal d
