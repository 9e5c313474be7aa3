-- Ends a campaign that is denied by the same words to many in a row, or to all of those whom it was for: that is no
-- matter of theirs, and they wait again. None of them when it goes on.   $1 campaign   $2 the words   $3 whether they
-- were many
with failed as (
  update campaigns c set status = 'failed', error_message = left($2, 500), updated_at = now()
  where c.id = $1 and c.status = 'sending' and ($3 or c.total_sent = 0 and not exists (
    select from campaign_recipients r where r.campaign_id = c.id
      and (r.state in ('pending', 'sending') or r.state = 'failed' and r.error_message is distinct from left($2, 500))))
  returning c.id
)
update campaign_recipients r set state = 'pending', attempts = r.attempts - 1
from failed f where r.campaign_id = f.id and r.state = 'failed' and r.error_message = left($2, 500)
returning r.id
