-- From here on the text counts as sent, and its job is gone.   $1 id   $2 the message
update scheduled_sms set is_sent = true, sent_at = now(), first_tried_at = coalesce(first_tried_at, now()), message_id = $2, updated_at = now() where id = $1 returning id
