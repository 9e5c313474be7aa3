-- A folder whose parent was not imported, is another company's, or is below the folder itself moves to the top level.
with recursive reached as (
  select s.id, s.tenant_id from old_folders s where s.parent_id is null and s.problem is null
  union
  select f.id, f.tenant_id from folders f where f.id in (select parent_id from old_folders)
  union
  select s.id, s.tenant_id from old_folders s join reached r on r.id = s.parent_id and r.tenant_id = s.tenant_id where s.problem is null
), changed as (
  update old_folders s set parent_id = null
  where s.problem is null and s.parent_id is not null and not exists (select from reached r where r.id = s.id)
  returning s.id
)
insert into old_report (table_name, id, action, reason)
select 'folders', id, 'detached', 'parent_id is another company''s, did not come over, or is below the folder' from changed
