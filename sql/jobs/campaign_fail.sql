-- $1 campaign   $2 why
update campaigns set status = 'failed', error_message = left($2, 500), updated_at = now() where id = $1 and status = 'sending' returning id
