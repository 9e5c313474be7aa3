-- $1 status   $2 limit   $3 offset
select id, user_id, to_number, from_twilio_number, conversation_status, last_message_at, created_at, message_count, unread_count
from conversations where not is_deleted and conversation_status = $1
-- cursor: and (last_message_at, id) < ($4, $5)
order by last_message_at desc, id desc
limit $2 offset $3
