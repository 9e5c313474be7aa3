-- $1 folder id
select id, name, description, status, tags, parent_id, created_at, null::bigint as size
from folders where id = $1 and not is_deleted
