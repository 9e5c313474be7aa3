-- Twilio took nothing: it is tried again in a minute.   $1 id
with again as (
  update scheduled_sms set is_sent = false, sent_at = null, updated_at = now() where id = $1 and is_sent returning id, user_id
)
insert into jobs (user_id, kind, record_id, run_at) select user_id, 'scheduled_sms', id, now() + interval '1 minute' from again
returning id
