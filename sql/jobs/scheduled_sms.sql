-- A scheduled text that is neither sent nor cancelled, held until the transaction ends; its number stays when its
-- contact has gone. It is late when it was neither sent nor tried within a day of its time, as during a suspension of
-- the company.   $1 id
select from_address, to_address, body, (select c.id from contacts c where c.id = contact_id and not c.is_deleted) as contact_id,
  coalesce(first_tried_at, scheduled_at) < now() - interval '1 day' as is_late
from scheduled_sms where id = $1 and not is_sent and not is_cancelled
for update
