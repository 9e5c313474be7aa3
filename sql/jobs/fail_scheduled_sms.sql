-- $1 id   $2 why
update scheduled_sms set is_sent = false, is_cancelled = true, error_message = left($2, 500), updated_at = now() where id = $1 and not is_sent and not is_cancelled returning id
