-- The automatic reply that was stored together with an incoming text.   $1 Twilio's id
select a.body as reply
from sms_messages m join sms_messages a on a.conversation_id = m.conversation_id and a.created_at = m.created_at
  and a.is_auto_response and a.to_address = m.from_address
where m.twilio_sid = $1
