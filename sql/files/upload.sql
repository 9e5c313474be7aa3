-- A file whose content is in the store. The lock keeps its folder from being deleted at the same time.
-- $1 file id   $2 name   $3 MIME type   $4 bytes   $5 SHA-256   $6 key in the store   $7 category   $8 folder, or null
-- $9 tags
with folder as materialized (
  select app.found_folder($8) as id
)
insert into files (id, name, original_name, file_type, size, sha256, object_key, category, folder_id, tags)
select $1, app.new_file_name(folder.id, $2), $2, $3, $4, $5, $6, $7, folder.id, $9
from folder
returning id, name, original_name, file_type, size, category, description, status, tags, '/api/files/' || id || '/download' as url, folder_id,
  contact_id, deal_id, created_at, updated_at
