-- Moves a text forward; answers its recipient, or nothing when the company has no such text.
-- $1 the message that the address names, or null   $2 Twilio's id   $3 status   $4 error, or null
with message as (
  select id, to_address from sms_messages
  where direction = 'outbound' and (twilio_sid = $2 or (id = $1 and twilio_sid is null)) and $2 <> ''
  limit 1
), moved as (
  update sms_messages m set status = $3, twilio_sid = $2, error_code = coalesce($4, m.error_code),
    delivered_at = case when $3 in ('delivered', 'read') then coalesce(m.delivered_at, now()) else m.delivered_at end,
    read_at = case when $3 = 'read' then coalesce(m.read_at, now()) else m.read_at end, updated_at = now()
  from message where m.id = message.id and app.sms_rank($3) > app.sms_rank(m.status)
)
select to_address from message
