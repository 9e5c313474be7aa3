-- Ends a campaign whose recipients all have their final state, and otherwise puts its job off: one second for pending
-- recipients, the lease for those claimed by another worker.   $1 job   $2 campaign   $3 the lease, in seconds
with unfinished as (
  select count(*) as number, count(*) filter (where r.state = 'pending') as pending
  from campaign_recipients r where r.campaign_id = $2 and r.state in ('pending', 'sending')
), ended as (
  update campaigns c set updated_at = now(), status = case when c.total_sent = 0 and f.has_failed then 'failed' else 'sent' end,
    error_message = case when c.total_sent = 0 and f.has_failed then 'None of the mails could be sent' end
  from unfinished u, (select exists (select from campaign_recipients r where r.campaign_id = $2 and r.state = 'failed') as has_failed) f
  where c.id = $2 and c.status = 'sending' and u.number = 0
  returning c.id
)
update jobs j set run_at = now() + case when u.pending > 0 then interval '1 second' else make_interval(secs => $3) end
from unfinished u where j.id = $1 and u.number > 0
returning j.id
