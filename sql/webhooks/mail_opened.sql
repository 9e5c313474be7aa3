-- Records that a mail was opened.   $1 mail
update emails set open_count = open_count + 1, read_at = coalesce(read_at, now()), opened_at = coalesce(opened_at, now()), updated_at = now(),
  -- Whatever the provider's response was.
  sent_at = coalesce(sent_at, created_at), error_message = null,
  status = case when app.email_rank(status) < app.email_rank('opened') then 'opened' else status end
where id = $1 and direction = 'outbound'
returning id
