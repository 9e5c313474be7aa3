-- $1 folder id   $2 the columns to change   $3 whether it moves   $4 where to, or null for the root
update folders x set updated_at = now(), (name, description, status, tags) = (
    select n.name, n.description, n.status, n.tags from jsonb_populate_record(x, $2) n),
  parent_id = case when $3 then app.new_parent(x.id, $4) else x.parent_id end
where x.id = $1 and not x.is_deleted
returning id, name, description, status, tags, parent_id, created_at, null::bigint as size
