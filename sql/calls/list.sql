-- Calls, newest first.
-- $1 limit   $2 skip
select id, direction, status, from_address, to_address, from_address as "from", to_address as "to", duration, recording_url,
  coalesce(started_at, created_at) as started_at, ended_at, notes, contact_id, created_at
from calls
where true
-- cursor: and (created_at, id) < ($3, $4)
order by created_at desc, id desc
limit $1 offset $2
