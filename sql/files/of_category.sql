-- $1 category   $2 limit   $3 skip
select id, name, original_name, file_type, size, category, description, status, tags, '/api/files/' || id || '/download' as url, folder_id,
  contact_id, deal_id, created_at, updated_at
from files
where category = $1 and not is_deleted
-- cursor: and (created_at, id) < ($4, $5)
order by created_at desc, id desc
limit $2 offset $3
