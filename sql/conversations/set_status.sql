-- $1 id   $2 status
update conversations set conversation_status = $2, updated_at = now() where id = $1 and not is_deleted returning id
