-- Moves a text forward; returns its recipient, or no row if the company has no such text. A text whose response never
-- came counts as failed until its first callback, which shows that Twilio accepted it.
-- $1 the message that the address names, or null   $2 Twilio's id   $3 status   $4 error, or null
with message as materialized (
  select id, to_address, sender_id, twilio_sid is null and status in ('queued', 'failed') as is_news from sms_messages
  where direction = 'outbound' and (twilio_sid = $2 or (id = $1 and twilio_sid is null)) and $2 <> ''
  limit 1 for no key update
), moved as (
  update sms_messages m set status = $3, twilio_sid = $2, error_message = null,
    error_code = case when $3 in ('sent', 'delivered', 'read') then null else coalesce($4, m.error_code) end,
    delivered_at = case when $3 in ('delivered', 'read') then coalesce(m.delivered_at, now()) else m.delivered_at end,
    read_at = case when $3 = 'read' then coalesce(m.read_at, now()) else m.read_at end, updated_at = now()
  from message t where m.id = t.id and (app.sms_rank($3) > app.sms_rank(m.status) or t.is_news)
), number as (
  update phone_numbers n set total_messages_sent = n.total_messages_sent + 1, updated_at = now()
  from message t where n.id = t.sender_id and t.is_news
), scheduled as (
  update scheduled_sms s set is_sent = true, sent_at = coalesce(s.sent_at, now()), is_cancelled = false, error_message = null, updated_at = now()
  from message t where s.message_id = t.id and t.is_news
)
select to_address from message
