-- Messages, newest first.
-- $1 limit   $2 skip
select id, direction, status, from_address, to_address, body, created_at as sent_at, read_at, contact_id, created_at, is_auto_response
from sms_messages
where true
-- cursor: and (created_at, id) < ($3, $4)
order by created_at desc, id desc
limit $1 offset $2
