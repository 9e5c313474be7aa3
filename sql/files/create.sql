-- A file without content.
-- $1 name   $2 category   $3 folder   $4 contact   $5 deal: each of the last three or null   $6 tags
insert into files (name, original_name, category, folder_id, contact_id, deal_id, tags)
select $1, $1, $2, app.found_folder($3), app.found_contact($4), app.found_deal($5), $6
returning id, name, original_name, file_type, size, category, description, status, tags, '/api/files/' || id || '/download' as url, folder_id,
  contact_id, deal_id, created_at, updated_at
