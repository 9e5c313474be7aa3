-- $1 id   $2 notes
update calls set notes = $2, updated_at = now() where id = $1 returning id
