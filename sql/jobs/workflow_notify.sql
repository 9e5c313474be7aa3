-- Notifies once, however often the step is done: the id is derived from the step, with its time, and the reader.
-- $1 step   $2 title   $3 message   $4 link
insert into notifications (id, title, message, type, link)
select concat(left($1::uuid::text, 14), '7', substr(h, 1, 3), '8', substr(h, 4, 15))::uuid, left($2, 255), $3, 'info', $4
from md5($1::uuid::text || app.user_id()) h
on conflict (id) do nothing
returning id
