-- Retries a provider that accepted nothing, or not everything: after a pause, and then each time after as long as it
-- has accepted nothing so far, ten minutes at most. Not for a campaign without pending recipients.
-- $1 job   $2 campaign   $3 the pause, in seconds
update jobs j set attempts = 0, run_at = now() + least(interval '10 minutes', greatest(make_interval(secs => $3), now() - greatest(c.sent_at,
  (select max(r.sent_at) from campaign_recipients r where r.campaign_id = c.id))))
from campaigns c
where j.id = $1 and c.id = $2 and exists (select from campaign_recipients r where r.campaign_id = c.id and r.state = 'pending')
returning j.id
