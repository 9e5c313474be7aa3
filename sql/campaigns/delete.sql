-- Deletes a campaign unless it has begun; returns whether it did.   $1 id
with deleted as (
  update campaigns set is_deleted = true, updated_at = now() where id = $1 and not is_deleted and status not in ('sending', 'sent')
  returning id
)
select exists (select from deleted) as is_deleted from campaigns where id = $1 and not is_deleted
