-- A file without content.
-- $1 name   $2 category   $3 folder   $4 contact   $5 deal: each of the last three or null   $6 tags
insert into files (name, original_name, category, folder_id, contact_id, deal_id, tags)
select $1, $1, $2,
  app.found('Folder', $3, (select f.id from folders f where f.id = $3 and not f.is_deleted for share)),
  app.found('Contact', $4, (select c.id from contacts c where c.id = $4 and not c.is_deleted)),
  app.found('Deal', $5, (select d.id from deals d where d.id = $5 and not d.is_deleted)), $6
returning id, name, original_name, file_type, size, category, description, status, tags, '/api/files/' || id || '/download' as url, folder_id,
  contact_id, deal_id, created_at, updated_at
