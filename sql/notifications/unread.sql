-- The caller's unread notifications, newest first.
-- $1 limit   $2 skip
select id, title, message, type, read, created_at, link
from notifications
where not is_deleted and not read
-- cursor: and (created_at, id) < ($3, $4)
order by created_at desc, id desc
limit $1 offset $2
