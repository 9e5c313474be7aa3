-- Calls of a direction, newest first.
-- $1 direction   $2 limit   $3 skip
select id, direction, status, from_address, to_address, from_address as "from", to_address as "to", duration, recording_url,
  coalesce(started_at, created_at) as started_at, ended_at, notes, contact_id, created_at
from calls
where direction = $1
-- cursor: and (created_at, id) < ($4, $5)
order by created_at desc, id desc
limit $2 offset $3
