-- Records a call before it is made.   $1 one of the company's numbers, or null   $2 to   $3 notes   $4 contact, or null
insert into calls (direction, status, from_address, to_address, notes, contact_id, started_at)
select 'outbound', 'initiated', s.number, $2, $3, app.found_contact($4), now()
from app.sender($1, false, true) s
returning id, user_id, from_address, to_address
