-- Stores an incoming text once, and returns the automatic reply.
-- $1 Twilio's id   $2 from   $3 to   $4 body   $5 stop, start, help or null
with message as (
  insert into sms_messages (direction, status, from_address, to_address, body, twilio_sid, contact_id)
  select 'inbound', 'received', $2, $3, $4, $1, app.contact_of_number($2)
  -- A duplicate would be counted in its conversation before it conflicts.
  where not exists (select from sms_messages m where m.twilio_sid = $1)
  on conflict (tenant_id, twilio_sid) where company_id is not null do nothing
  returning id
), number as (
  update phone_numbers set total_messages_received = total_messages_received + 1, updated_at = now()
  where phone_number = $3 and not is_deleted and company_id is not null and exists (select from message)
)
select m.id, said.reply
from message m left join companies c on true
left join lateral (select case
    when $5::text = 'help' then coalesce(c.settings ->> 'help_reply', c.name || ': reply STOP to receive no more messages.')
    -- Nothing is sent automatically that nobody may send.
    when $5::text is null and not app.is_suppressed('sms', $2) and app.quiet_until($2) is null and not exists (
      select from conversations v where v.to_number = $2 and not v.is_deleted and v.company_id is not null and v.conversation_status = 'blocked')
    then c.settings ->> 'auto_reply' end as reply) said
  -- Two numbers that reply automatically would go on for ever. A reply to HELP may be repeated soon.
  on lower(btrim($4)) <> lower(btrim(said.reply)) and not exists (
    select from conversations v join sms_messages a on a.conversation_id = v.id
    where v.to_number = $2 and not v.is_deleted and v.company_id is not null and a.is_auto_response and a.from_address = $3
      and a.body = said.reply and a.created_at > now() - case when $5 = 'help' then interval '1 minute' else interval '1 hour' end)
