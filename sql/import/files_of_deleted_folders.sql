-- Nobody can reach the content of a deleted folder: a file in it that is not deleted moves to the top level.
with changed as (
  update old_files s set folder_id = null from folders f
  where f.id = s.folder_id and f.is_deleted and not s.is_deleted and s.problem is null
  returning s.id
)
insert into old_report (table_name, id, action, reason)
select 'files', id, 'detached', 'folder_id is a deleted folder: it is at the top now' from changed
