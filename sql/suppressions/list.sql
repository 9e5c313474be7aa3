-- $1 limit   $2 skip
select id, channel, address, reason, note, created_at from suppressions
where true
-- cursor: and (created_at, id) < ($3, $4)
order by created_at desc, id desc
limit $1 offset $2
