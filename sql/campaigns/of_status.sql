-- Campaigns of a status, newest first.   $1 status   $2 limit   $3 offset
select id, campaign_name, subject, status, scheduled_at, sent_at, total_recipients, total_sent, total_delivered, total_opened,
  total_clicked, total_bounced, error_message, created_at
from campaigns where not is_deleted and status = $1
-- cursor: and (created_at, id) < ($4, $5)
order by created_at desc, id desc
limit $2 offset $3
