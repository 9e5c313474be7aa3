-- Starts a campaign, leaves it scheduled, or resumes a failed one for the recipients who still wait; no status if it
-- was started before or is historical. If its author has left the company, it continues in the caller's name.
-- $1 id
with started as (
  update campaigns c set status = case when scheduled_at > now() then 'scheduled' else 'sending' end, error_message = null,
    user_id = case when exists (select from users u where u.id = c.user_id and not u.is_deleted) then c.user_id else app.user_id() end,
    sent_at = case when scheduled_at > now() then null else now() end, updated_at = now()
  where id = $1 and not is_deleted and company_id is not null and (status in ('draft', 'scheduled') or status = 'failed'
    and exists (select from campaign_recipients r where r.campaign_id = c.id and r.state = 'pending'))
  returning id, status
)
select c.id, (select s.status from started s) as status, c.company_id is null as is_historical, c.status = 'failed' as had_failed
from campaigns c where c.id = $1 and not c.is_deleted
