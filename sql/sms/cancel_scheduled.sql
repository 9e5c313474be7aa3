-- Cancels a text that is not sent; returns its progress: `waiting`, `under_way` while Twilio is being asked, after
-- which it is not retried, or `sent`.   $1 id
with cancelled as (
  update scheduled_sms s set is_cancelled = true, updated_at = now()
  where id = $1 and (not is_sent or exists (select from sms_messages m where m.id = s.message_id and m.status = 'queued'))
  returning case when is_sent then 'under_way' else 'waiting' end as progress
)
select coalesce((select progress from cancelled), 'sent') as progress from scheduled_sms where id = $1
