-- $1 id
select id, campaign_name, subject, status, scheduled_at, sent_at, total_recipients, total_sent, total_delivered, total_opened,
  total_clicked, total_bounced, error_message, created_at
from campaigns where id = $1 and not is_deleted
