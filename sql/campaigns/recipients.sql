-- What became of each recipient.   $1 campaign
select campaign_id, email as recipient_email, sent_at, delivered_at, opened_at, clicked_at, bounced_at, opened_at is not null as opened,
  clicked_at is not null as clicked, bounced_at is not null as bounced, state, error_message
from campaign_recipients where campaign_id = $1
order by id
