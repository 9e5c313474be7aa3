-- A scheduled text that is neither sent nor cancelled, held until the transaction ends.   $1 id
select from_address, to_address, body, contact_id, app.quiet_until(to_address) as quiet_until
from scheduled_sms where id = $1 and not is_sent and not is_cancelled
for update
