-- Notifies once, however often the step is done.   $1 step   $2 title   $3 message   $4 link
insert into notifications (id, title, message, type, link) values (md5($1::uuid::text || app.user_id())::uuid, left($2, 255), $3, 'info', $4)
on conflict (id) do nothing
returning id
