-- $1 id
select id, user_id, to_number, from_twilio_number, conversation_status, last_message_at, created_at, message_count, unread_count
from conversations where id = $1
