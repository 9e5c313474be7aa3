-- What the provider said of each recipient. `busy`: the mail server defers it, which may be for the recipient or for
-- itself, and it is tried again for five days, as mail servers do (RFC 5321, 4.5.4.1), and five times at least. `later`
-- does not count as tried. Of a recipient whom another worker has claimed since it says nothing: this may be a
-- repetition of what was written down already.
-- $1 recipients   $2 when they were claimed   $3 sent, failed, busy or later   $4 the provider's ids   $5 errors
-- A mail that is known to have arrived has left, whatever the answer was. The rows are locked in the order of
-- webhooks/mail_events.sql.
with answer as materialized (
  select a.* from unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::text[], $5::text[]) a (id, tried_at, outcome, provider_id, error)
), held as materialized (
  select r.id from campaign_recipients r join answer a on a.id = r.id and a.tried_at = r.tried_at where r.state = 'sending'
  order by r.id for update of r
)
update campaign_recipients r set provider_id = a.provider_id, error_message = case when r.delivered_at is null then left(a.error, 500) end,
  sent_at = case when a.outcome = 'sent' then now() else r.delivered_at end, attempts = r.attempts - (a.outcome = 'later')::int,
  deferred_since = case when a.outcome = 'busy' then coalesce(r.deferred_since, now()) else r.deferred_since end,
  state = case when a.outcome <> 'sent' and r.delivered_at is not null then 'sent' when a.outcome in ('sent', 'failed') then a.outcome
    when a.outcome = 'busy' and r.attempts >= 5 and r.deferred_since <= now() - interval '5 days' then 'failed' else 'pending' end
from answer a, held h
where r.id = h.id and r.id = a.id and r.tried_at = a.tried_at and r.state = 'sending'
returning r.id
