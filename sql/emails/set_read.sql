-- $1 id   $2 whether it is read
update emails set read_at = case when $2 then coalesce(read_at, now()) end, updated_at = now() where id = $1 and not is_deleted returning id
