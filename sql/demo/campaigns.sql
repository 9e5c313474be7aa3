-- A campaign sent to the company's contacts, with the outcome for each, and a draft of the next one.
-- $1 company
with author as (
  select u.id from users u where u.company_id = $1 order by u.created_at, u.id limit 1
), recipient as (
  select lower(c.email) as email, row_number() over (order by c.created_at, c.id) as n from contacts c where c.tenant_id = $1
), told as (
  select r.email, r.n, now() - interval '6 days' + interval '2 seconds' * r.n as moment from recipient r
), sent as (
  insert into campaigns (tenant_id, company_id, user_id, campaign_name, subject, body, status, total_recipients, total_sent, total_delivered, total_opened,
    total_clicked, total_bounced, sent_at, created_at, updated_at)
  select $1, $1, a.id, 'Spring news', 'What is new this spring', 'Dear customer,' || chr(10) || chr(10) || 'here is what is new with us.', 'sent',
    f.sent, f.sent, f.sent - f.bounced, f.opened, f.clicked, f.bounced, now() - interval '6 days', now() - interval '7 days', now() - interval '6 days'
  from author a, (select count(*) as sent, count(*) filter (where n % 11 = 0) as bounced, count(*) filter (where n % 2 = 0 and n % 11 <> 0) as opened,
    count(*) filter (where n % 6 = 0 and n % 11 <> 0) as clicked from told) f
  returning id, user_id
), draft as (
  insert into campaigns (tenant_id, company_id, user_id, campaign_name, subject, body, status, total_recipients)
  select $1, $1, a.id, 'Summer news', 'What is new this summer', 'Dear customer,' || chr(10) || chr(10) || 'here is what is new with us.', 'draft', r.number
  from author a, (select count(*) as number from recipient) r
  returning id, user_id
)
insert into campaign_recipients (tenant_id, company_id, user_id, campaign_id, email, state, attempts, tried_at, sent_at, delivered_at, opened_at, clicked_at,
  bounced_at, open_count)
select $1, $1, s.user_id, s.id, t.email, 'sent', 1, t.moment, t.moment, case when t.n % 11 <> 0 then t.moment + interval '4 seconds' end,
  case when t.n % 2 = 0 and t.n % 11 <> 0 then t.moment + interval '3 hours' end,
  case when t.n % 6 = 0 and t.n % 11 <> 0 then t.moment + interval '3 hours 1 minute' end,
  case when t.n % 11 = 0 then t.moment + interval '9 seconds' end, (t.n % 2 = 0 and t.n % 11 <> 0)::int
from sent s, told t
union all
select $1, $1, d.user_id, d.id, r.email, 'pending', 0, null, null, null, null, null, null, 0 from draft d, recipient r
