-- $1 limit   $2 skip
select id, name, original_name, file_type, size, category, description, status, tags, '/api/files/' || id || '/download' as url, folder_id,
  contact_id, deal_id, created_at, updated_at
from files
where not is_deleted
-- cursor: and (created_at, id) < ($3, $4)
order by created_at desc, id desc
limit $1 offset $2
