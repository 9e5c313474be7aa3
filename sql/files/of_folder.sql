-- $1 folder id   $2 category, or null   $3 limit   $4 skip
select id, name, original_name, file_type, size, category, description, status, tags, '/api/files/' || id || '/download' as url, folder_id,
  contact_id, deal_id, created_at, updated_at
from files
where folder_id = $1 and not is_deleted and ($2::text is null or category = $2)
-- cursor: and (created_at, id) < ($5, $6)
order by created_at desc, id desc
limit $3 offset $4
