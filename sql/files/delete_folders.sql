-- Deletes a folder and all below it.
-- $1 folder id
with recursive below as (
  select id from folders where id = $1 and not is_deleted
  union select f.id from folders f join below b on f.parent_id = b.id where not f.is_deleted
)
update folders set is_deleted = true, updated_at = now() where id in (select id from below) returning id
