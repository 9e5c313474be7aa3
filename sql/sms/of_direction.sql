-- Messages of a direction, newest first.
-- $1 direction   $2 limit   $3 skip
select id, direction, status, from_address, to_address, body, created_at as sent_at, read_at, contact_id, created_at, is_auto_response
from sms_messages
where direction = $1
-- cursor: and (created_at, id) < ($4, $5)
order by created_at desc, id desc
limit $2 offset $3
