-- $1 id   $2 whether it goes to the trash
update emails set is_deleted = $2, updated_at = now() where id = $1 and is_deleted <> $2 returning id
