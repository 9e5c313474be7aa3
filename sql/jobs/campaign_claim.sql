-- Takes the next recipients: from here on they are being sent, whatever happens. Who wants no mail is left out, and so
-- is who is known to have the mail.
-- $1 job   $2 campaign   $3 the lease, in seconds   $4 how many   $5 the claim
with lease as (
  -- With recipients left to send to, the campaign has made progress, and its failed attempts are reset.
  update jobs set run_at = now() + make_interval(secs => $3),
    attempts = case when exists (select from campaign_recipients r where r.campaign_id = $2 and r.state = 'pending') then 0 else attempts end
  where id = $1 returning id
), next as (
  select r.id from campaign_recipients r
  where r.campaign_id = $2 and r.state = 'pending' and exists (select from lease)
  order by r.tried_at nulls first, r.id
  limit $4 for update skip locked
)
update campaign_recipients r set tried_at = now(), attempts = r.attempts + 1, claim = $5, error_message = s.why,
  state = case when r.delivered_at is not null then 'sent' when s.why is null then 'sending' else 'suppressed' end,
  sent_at = case when r.delivered_at is not null then coalesce(r.sent_at, r.delivered_at) end
from next n join lateral (
  select case when x.delivered_at is not null then null
    when app.reaches_nobody(x.email) then 'Nobody is reached there: the real address is not known'
    when app.is_suppressed('email', x.email) then 'The recipient has unsubscribed or cannot be reached' end as why
  from campaign_recipients x where x.id = n.id) s on true
where r.id = n.id
returning r.id, r.email, r.tried_at, r.state = 'sending' as is_sending
