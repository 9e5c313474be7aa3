-- Who sees the picture has the mail, whatever the provider answered when it was given it, and gets no second one.   $1
-- recipient of a campaign
update campaign_recipients set open_count = open_count + 1, opened_at = coalesce(opened_at, now()), delivered_at = coalesce(delivered_at, now()),
  state = case when state in ('pending', 'failed') then 'sent' else state end,
  error_message = case when state not in ('pending', 'failed') then error_message end,
  sent_at = case when state in ('pending', 'failed') then coalesce(sent_at, tried_at, now()) else sent_at end
where id = $1
returning id
