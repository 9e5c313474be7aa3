select id, name, description, status, tags, parent_id, created_at,
  (select nullif(sum(x.size), 0)::bigint from files x where x.folder_id = folders.id and not x.is_deleted) as size
from folders
where parent_id is null and not is_deleted
order by name, id
