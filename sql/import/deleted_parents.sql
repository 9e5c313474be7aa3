-- Nobody can reach the content of a deleted folder: a folder in it that is not deleted moves to the top level.
with changed as (
  update old_folders s set parent_id = null
  where s.problem is null and not s.is_deleted
    and (exists (select from old_folders p where p.id = s.parent_id and p.is_deleted) or exists (select from folders p where p.id = s.parent_id and p.is_deleted))
  returning s.id
)
insert into old_report (table_name, id, action, reason)
select 'folders', id, 'detached', 'parent_id is a deleted folder: it is at the top now' from changed
