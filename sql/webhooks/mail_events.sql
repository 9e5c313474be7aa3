-- What SendGrid tells of mails of the company. States and times only move forward, so that all of it may come again.
-- Answers the mails that nobody is known to have opened before.
-- $1 events: [{mail, event, at, address}]
with event as materialized (
  select e.mail, e.event, e.at, e.address from jsonb_to_recordset($1) e (mail uuid, event text, at timestamptz, address text)
), told as (
  select e.mail, min(e.at) filter (where e.event in ('delivered', 'opened', 'clicked')) as delivered_at,
    min(e.at) filter (where e.event in ('opened', 'clicked')) as opened_at, min(e.at) filter (where e.event = 'clicked') as clicked_at,
    min(e.at) filter (where e.event in ('bounced', 'dropped')) as bounced_at,
    -- What becomes of a copy says nothing of the mail, except that somebody reads it.
    (array_agg(w.status order by app.email_rank(w.status) desc) filter (where not w.is_copy or e.event in ('opened', 'clicked')))[1] as status
  from event e, lateral (
    select case when e.event = 'dropped' then 'bounced' when e.event in ('complaint', 'unsubscribe') then 'delivered' else e.event end as status,
      e.address <> '' and exists (select from emails m, string_to_table(concat_ws(',', m.cc, m.bcc), ',') copy where m.id = e.mail
        and app.suppressed_form('email', copy) = app.suppressed_form('email', e.address)
        and app.suppressed_form('email', m.to_email) <> app.suppressed_form('email', e.address)) as is_copy
  ) w
  group by e.mail
), held as (
  select r.id from campaign_recipients r join told t on t.mail = r.id order by r.id for update of r
), recipient as (
  -- One that was to be tried again has the mail, too.
  update campaign_recipients r set delivered_at = coalesce(r.delivered_at, t.delivered_at), opened_at = coalesce(r.opened_at, t.opened_at),
    clicked_at = coalesce(r.clicked_at, t.clicked_at), bounced_at = coalesce(r.bounced_at, t.bounced_at),
    state = case when r.state in ('pending', 'failed') and t.delivered_at is not null then 'sent' else r.state end,
    error_message = case when r.state in ('pending', 'failed') and t.delivered_at is not null then null else r.error_message end,
    sent_at = case when r.state in ('pending', 'failed') and t.delivered_at is not null then coalesce(r.sent_at, r.tried_at, t.delivered_at) else r.sent_at end
  from told t, held h where r.id = t.mail and h.id = r.id
), before as (
  select m.id, m.user_id, m.open_count from emails m join told t on t.mail = m.id
  where m.direction = 'outbound' order by m.id for update of m
), mail as (
  update emails m set updated_at = now(), status = case when app.email_rank(t.status) > app.email_rank(m.status) then t.status else m.status end,
    -- A mail with events was sent, whatever the provider's response was.
    sent_at = case when app.email_rank(t.status) > 1 then coalesce(m.sent_at, m.created_at) else m.sent_at end,
    error_message = case when app.email_rank(t.status) > 1 then null else m.error_message end,
    opened_at = coalesce(m.opened_at, t.opened_at), clicked_at = coalesce(m.clicked_at, t.clicked_at)
  from told t, before b where m.id = t.mail and b.id = m.id
)
select b.id, b.user_id from before b join told t on t.mail = b.id where b.open_count = 0 and t.opened_at is not null
