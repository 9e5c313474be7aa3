-- $1 file id   $2 the columns to change   $3 folder, or null when unchanged   $4 whether it leaves its folder
-- Locks the folder before the file, as deleting a folder does. This includes an unchanged folder, because the file may
-- have been moved by the time it is locked. A company's file goes into a company's folder.
update files x set updated_at = now(), (name, category, description, tags, status) = (
    select n.name, n.category, n.description, n.tags, n.status from jsonb_populate_record(x, $2) n),
  folder_id = case when $4 then null else coalesce(
    app.found('Folder', nullif($3, x.folder_id), (select f.id from folders f where f.id = $3 and not f.is_deleted
      and (f.company_id is not null or x.company_id is null) for share)), x.folder_id) end
where x.id = $1 and not x.is_deleted
returning id, name, original_name, file_type, size, category, description, status, tags, '/api/files/' || id || '/download' as url, folder_id,
  contact_id, deal_id, created_at, updated_at
