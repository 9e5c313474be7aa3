-- Campaigns, newest first.   $1 limit   $2 offset
select id, campaign_name, subject, status, scheduled_at, sent_at, total_recipients, total_sent, total_delivered, total_opened,
  total_clicked, total_bounced, error_message, created_at
from campaigns where not is_deleted
-- cursor: and (created_at, id) < ($3, $4)
order by created_at desc, id desc
limit $1 offset $2
