-- $1 limit   $2 offset
select id, user_id, to_number, from_twilio_number, conversation_status, last_message_at, created_at, message_count, unread_count
from conversations where not is_deleted
-- cursor: and (last_message_at, id) < ($3, $4)
order by last_message_at desc, id desc
limit $1 offset $2
