-- A recipient who loads the image has the mail, whatever the provider's response was.   $1 recipient of a campaign
update campaign_recipients set open_count = open_count + 1, opened_at = coalesce(opened_at, now()), delivered_at = coalesce(delivered_at, now()),
  state = case state when 'failed' then 'sent' else state end, error_message = case when state <> 'failed' then error_message end,
  sent_at = case state when 'failed' then coalesce(sent_at, tried_at, now()) else sent_at end
where id = $1
returning id
