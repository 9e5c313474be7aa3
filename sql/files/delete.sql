-- The content stays in the store for a while (src/jobs/sweep_files.rs).
-- $1 file id
update files set is_deleted = true, updated_at = now() where id = $1 and not is_deleted
returning id, name, original_name, file_type, size, category, description, status, tags, '/api/files/' || id || '/download' as url, folder_id,
  contact_id, deal_id, created_at, updated_at
