-- Suppresses addresses that SendGrid reports as opted out or unreachable, also for a deleted mail as long as it was the
-- company's: then in the name of the user who has its key.   $1 events: [{mail, company, event, address}]
select true
from (
  select distinct on (lower(e.address)) lower(e.address) as address, x.reason, x.user_id
  from jsonb_to_recordset($1) e (mail uuid, company uuid, event text, address text)
  left join campaign_recipients r on r.id = e.mail
  left join emails m on m.id = e.mail and m.direction = 'outbound'
  cross join lateral (
    select case e.event when 'bounced' then 'bounce' else e.event end as reason,
      coalesce(r.user_id, m.user_id, case when e.company = (select app.company_id()) then (select app.user_id()) end) as user_id) x
  where e.event in ('bounced', 'complaint', 'unsubscribe') and x.user_id is not null and length(e.address) between 3 and 255
  order by lower(e.address), app.reason_weight(x.reason) desc, e.event
) said, app.suppress('email', said.address, said.reason, said.user_id)
