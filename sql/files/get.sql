-- $1 file id
select id, name, original_name, file_type, size, category, description, status, tags, '/api/files/' || id || '/download' as url, folder_id,
  contact_id, deal_id, created_at, updated_at
from files where id = $1 and not is_deleted
