-- $1 name   $2 description   $3 status   $4 tags   $5 folder in which it is, or null
insert into folders (name, description, status, tags, parent_id)
values ($1, $2, coalesce($3, 'active'), $4, app.new_parent(null, $5))
returning id, name, description, status, tags, parent_id, created_at, null::bigint as size
