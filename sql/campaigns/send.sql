-- Starts a campaign, or leaves it to its time; no status when it was started before, or has no company in whose name it could leave.
-- $1 id
with started as (
  update campaigns set status = case when scheduled_at > now() then 'scheduled' else 'sending' end,
    sent_at = case when scheduled_at > now() then null else now() end, updated_at = now()
  where id = $1 and not is_deleted and status in ('draft', 'scheduled') and company_id is not null
  returning id, status
)
select c.id, (select s.status from started s) as status, c.company_id is null as is_historical
from campaigns c where c.id = $1 and not c.is_deleted
