-- Mail sent in a period, single mails and campaigns. An opened mail counts as delivered, and a clicked one as opened,
-- because a mail's status only moves forward. The timeline has the hours, by the company's clock, in which mails of the
-- period were first opened and clicked. The template of a mail is not recorded.
-- $1 first day   $2 last day   $3 who sent: each null for all
with p as materialized (
  select * from app.period($1, $2)
), sent as materialized (
  select 'Direct' as type, e.user_id, count(*) as sent, count(*) filter (where e.status in ('delivered', 'opened', 'clicked')) as delivered,
    count(*) filter (where e.status in ('opened', 'clicked')) as opened, count(*) filter (where e.status = 'clicked') as clicked,
    count(*) filter (where e.status = 'bounced') as bounced
  from p, emails e
  where e.direction = 'outbound' and not e.is_deleted and e.status in ('sent', 'delivered', 'opened', 'clicked', 'bounced')
    and e.sent_at >= p.starts and e.sent_at < p.ends and ($3::uuid is null or e.user_id = $3)
  group by 2
  union all
  select 'Campaign', r.user_id, count(*), count(coalesce(r.delivered_at, r.opened_at, r.clicked_at)),
    count(coalesce(r.opened_at, r.clicked_at)), count(r.clicked_at), count(r.bounced_at)
  from p, campaign_recipients r
  where r.state = 'sent' and r.sent_at >= p.starts and r.sent_at < p.ends and ($3::uuid is null or r.user_id = $3)
  group by 2
), total as (
  select coalesce(sum(sent), 0) as sent, coalesce(sum(delivered), 0) as delivered, coalesce(sum(opened), 0) as opened,
    coalesce(sum(clicked), 0) as clicked, coalesce(sum(bounced), 0) as bounced from sent
), engaged as (
  -- By quarter hours, which make up the hours of every time zone, so that not each mail's time is converted.
  select date_bin('15 minutes', m.at, timestamptz '2000-01-01 00:00Z') as at, count(*) filter (where m.is_open) as opens,
    count(*) filter (where not m.is_open) as clicks
  from (
    select x.at, x.is_open from p, emails e cross join lateral (values (e.opened_at, true), (e.clicked_at, false)) x (at, is_open)
    where e.opened_at is not null and e.direction = 'outbound' and not e.is_deleted and e.sent_at >= p.starts and e.sent_at < p.ends
      and ($3::uuid is null or e.user_id = $3)
    union all
    select x.at, x.is_open from p, campaign_recipients r cross join lateral (values (r.opened_at, true), (r.clicked_at, false)) x (at, is_open)
    where r.state = 'sent' and r.sent_at >= p.starts and r.sent_at < p.ends and ($3::uuid is null or r.user_id = $3)) m
  where m.at is not null group by 1
), hour as (
  select extract(hour from e.at at time zone p.zone)::int as hour, sum(e.opens) as opens, sum(e.clicks) as clicks from p, engaged e group by 1
)
select jsonb_build_object(
  'filters', jsonb_build_object('date_from', $1::date, 'date_to', $2::date, 'user_id', $3::uuid),
  'email_summary', jsonb_build_object('total_sent', t.sent, 'total_opened', t.opened, 'total_clicked', t.clicked, 'total_bounced', t.bounced),
  'email_metrics', jsonb_build_object('total_sent', t.sent, 'total_delivered', t.delivered, 'total_opened', t.opened, 'total_clicked', t.clicked,
    'total_bounced', t.bounced, -- An unsubscription is the recipient's, and belongs to no single sender.
    'total_unsubscribed', (select count(*) from p, suppressions s
      where s.channel = 'email' and s.reason = 'unsubscribe' and s.created_at >= p.starts and s.created_at < p.ends and $3::uuid is null),
    'open_rate', app.percent(t.opened, t.sent), 'click_rate', app.percent(t.clicked, t.sent), 'bounce_rate', app.percent(t.bounced, t.sent),
    'click_to_open_rate', app.percent(t.clicked, t.opened)),
  'email_by_type', coalesce((select jsonb_agg(jsonb_build_object('type', x.type, 'sent', x.sent, 'opened', x.opened, 'clicked', x.clicked,
      'open_rate', app.percent(x.opened, x.sent), 'click_rate', app.percent(x.clicked, x.sent)) order by x.sent desc, x.type)
    from (select s.type, sum(s.sent) as sent, sum(s.opened) as opened, sum(s.clicked) as clicked from sent s group by 1) x), '[]'),
  'email_by_user', coalesce((select jsonb_agg(jsonb_build_object('user_id', x.user_id,
      'user_name', coalesce((select concat_ws(' ', u.first_name, u.last_name) from users u where u.id = x.user_id), 'Former member'),
      'sent', x.sent, 'opened', x.opened, 'clicked', x.clicked, 'open_rate', app.percent(x.opened, x.sent), 'click_rate', app.percent(x.clicked, x.sent))
    order by x.sent desc, x.user_id)
    from (select s.user_id, sum(s.sent) as sent, sum(s.opened) as opened, sum(s.clicked) as clicked from sent s group by 1) x), '[]'),
  'top_performing_templates', jsonb_build_array(),
  'engagement_timeline', coalesce((select jsonb_agg(jsonb_build_object('hour', to_char(n, 'FM00') || ':00', 'opens', coalesce(h.opens, 0),
      'clicks', coalesce(h.clicks, 0)) order by n)
    from generate_series(0, 23) n left join hour h on h.hour = n having count(h.hour) > 0), '[]'))
from total t
