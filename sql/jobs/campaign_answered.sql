-- What the provider said of each recipient. `busy` is tried again, five times at most; `later` does not count as tried.
-- Of a recipient whom another worker has claimed since it says nothing: this may be a repetition of what was written down already.
-- $1 recipients   $2 when they were claimed   $3 sent, failed, busy or later   $4 the provider's ids   $5 errors
-- A mail that is known to have arrived has left, whatever the answer was.
update campaign_recipients r set provider_id = a.provider_id, error_message = case when r.delivered_at is null then left(a.error, 500) end,
  sent_at = case when a.outcome = 'sent' then now() else r.delivered_at end, attempts = r.attempts - (a.outcome = 'later')::int,
  state = case when a.outcome <> 'sent' and r.delivered_at is not null then 'sent' when a.outcome in ('sent', 'failed') then a.outcome when a.outcome = 'busy' and r.attempts >= 5 then 'failed' else 'pending' end
from unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::text[], $5::text[]) a (id, tried_at, outcome, provider_id, error)
where r.id = a.id and r.tried_at = a.tried_at and r.state = 'sending'
returning r.id
