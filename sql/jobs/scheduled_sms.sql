-- Locks a scheduled text that is neither sent nor cancelled until the transaction ends; it keeps its number if its
-- contact is gone.
-- $1 id
select from_address, to_address, body, (select c.id from contacts c where c.id = contact_id and not c.is_deleted) as contact_id
from scheduled_sms where id = $1 and not is_sent and not is_cancelled
for update
