-- Texts that are still to be sent, soonest first.   $1 limit   $2 skip
select id, to_address, body, scheduled_at, is_sent, is_cancelled, error_message, created_at
from scheduled_sms where not is_sent and not is_cancelled
-- cursor: and (scheduled_at, id) > ($3, $4)
order by scheduled_at, id
limit $1 offset $2
