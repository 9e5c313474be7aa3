-- $1 mail   $2 the provider's id of it, or null   $3 why it failed, or null
update emails set is_sending = false, provider_id = $2, updated_at = now(),
  -- The outcome may be known already.
  status = case when app.email_rank(status) > 1 then status when $3::text is null then 'sent' else 'failed' end,
  error_message = case when app.email_rank(status) > 1 then null else $3 end,
  sent_at = case when $3::text is null then now() when app.email_rank(status) > 1 then coalesce(sent_at, created_at) end
where id = $1 and is_sending
returning id
