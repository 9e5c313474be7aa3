-- Records a text before it is sent; opt-outs and quiet hours are enforced here (app.keep_message).
-- $1 one of the company's numbers, or null   $2 whether its numbers take turns   $3 to   $4 body   $5 contact, or null
-- $6 the run that sends it, or null
insert into sms_messages (direction, status, from_address, sender_id, to_address, body, contact_id, execution_id)
select 'outbound', 'queued', s.number, s.id, $3, $4, app.found_contact($5), $6
from app.sender($1, $2, false) s
returning id, user_id, from_address, to_address, body
