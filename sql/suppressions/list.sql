-- $1 limit   $2 skip
select id, channel, address, reason, note, created_at from suppressions
order by created_at desc, id desc
limit $1 offset $2
