-- The mail that was sent in a period. An opened one was delivered, and a clicked one opened, because a state only moves
-- forward; when somebody opened is not recorded, nor from which template a mail was made.
-- $1 first day   $2 last day   $3 who sent: each null for all
with sent as materialized (
  select e.user_id, count(*) as sent, count(*) filter (where e.status in ('delivered', 'opened', 'clicked')) as delivered,
    count(*) filter (where e.status in ('opened', 'clicked')) as opened, count(*) filter (where e.status = 'clicked') as clicked,
    count(*) filter (where e.status = 'bounced') as bounced
  from app.period($1, $2) p, emails e
  where e.direction = 'outbound' and not e.is_deleted and e.status in ('sent', 'delivered', 'opened', 'clicked', 'bounced')
    and e.sent_at >= p.starts and e.sent_at < p.ends and ($3::uuid is null or e.user_id = $3)
  group by 1
), total as (
  select coalesce(sum(sent), 0) as sent, coalesce(sum(delivered), 0) as delivered, coalesce(sum(opened), 0) as opened,
    coalesce(sum(clicked), 0) as clicked, coalesce(sum(bounced), 0) as bounced from sent
)
select jsonb_build_object(
  'filters', jsonb_build_object('date_from', $1::date, 'date_to', $2::date, 'user_id', $3::uuid),
  'email_summary', jsonb_build_object('total_sent', t.sent, 'total_opened', t.opened, 'total_clicked', t.clicked, 'total_bounced', t.bounced),
  'email_metrics', jsonb_build_object('total_sent', t.sent, 'total_delivered', t.delivered, 'total_opened', t.opened, 'total_clicked', t.clicked,
    'total_bounced', t.bounced,
    -- Who unsubscribed is the recipient's, so it is not one sender's.
    'total_unsubscribed', (select count(*) from app.period($1, $2) p, suppressions s
      where s.channel = 'email' and s.reason = 'unsubscribe' and s.created_at >= p.starts and s.created_at < p.ends and $3::uuid is null),
    'open_rate', app.percent(t.opened, t.sent), 'click_rate', app.percent(t.clicked, t.sent), 'bounce_rate', app.percent(t.bounced, t.sent),
    'click_to_open_rate', app.percent(t.clicked, t.opened)),
  'email_by_type', case when t.sent = 0 then '[]' else jsonb_build_array(jsonb_build_object('type', 'Direct', 'sent', t.sent, 'opened', t.opened,
    'clicked', t.clicked, 'open_rate', app.percent(t.opened, t.sent), 'click_rate', app.percent(t.clicked, t.sent))) end,
  'email_by_user', coalesce((select jsonb_agg(jsonb_build_object('user_id', s.user_id,
      'user_name', coalesce((select concat_ws(' ', u.first_name, u.last_name) from users u where u.id = s.user_id), 'Former member'),
      'sent', s.sent, 'opened', s.opened, 'clicked', s.clicked, 'open_rate', app.percent(s.opened, s.sent), 'click_rate', app.percent(s.clicked, s.sent))
    order by s.sent desc, s.user_id) from sent s), '[]'),
  'top_performing_templates', jsonb_build_array(), 'engagement_timeline', jsonb_build_array())
from total t
