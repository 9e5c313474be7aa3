-- The caller's notifications, newest first.
-- $1 only unread ones   $2 limit   $3 skip
select id, title, message, type, read, created_at, link
from notifications
where not is_deleted and (not $1 or not read)
order by created_at desc, id desc
limit $2 offset $3
