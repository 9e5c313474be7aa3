-- $1 recipient of a campaign
update campaign_recipients set open_count = open_count + 1, opened_at = coalesce(opened_at, now()) where id = $1 returning id
