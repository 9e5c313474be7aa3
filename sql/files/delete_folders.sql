-- Deletes a folder and all below it, except what is the company's in a historical one (app.leave_deleted_folder).
-- $1 folder id
with recursive below as (
  select id, company_id from folders where id = $1 and not is_deleted
  union select f.id, f.company_id from folders f join below b on f.parent_id = b.id
  where not f.is_deleted and (f.company_id is null or b.company_id is not null)
)
update folders set is_deleted = true, updated_at = now() where id in (select id from below) returning id
