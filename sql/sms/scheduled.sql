-- What is still to be sent, soonest first.
select id, to_address, body, scheduled_at, is_sent, is_cancelled, error_message, created_at
from scheduled_sms where not is_sent and not is_cancelled
order by scheduled_at, id
