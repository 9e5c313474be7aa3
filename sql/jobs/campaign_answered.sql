-- What the provider said of each recipient. `busy` is tried again, five times at most; `later` was not tried.
-- $1 recipients   $2 sent, failed, busy or later   $3 the provider's ids   $4 errors
update campaign_recipients r set provider_id = a.provider_id, error_message = left(a.error, 500),
  sent_at = case when a.outcome = 'sent' then now() end, attempts = r.attempts - (a.outcome = 'later')::int,
  state = case when a.outcome in ('sent', 'failed') then a.outcome when a.outcome = 'busy' and r.attempts >= 5 then 'failed' else 'pending' end
from unnest($1::uuid[], $2::text[], $3::text[], $4::text[]) a (id, outcome, provider_id, error)
where r.id = a.id and r.state = 'sending'
returning r.id
