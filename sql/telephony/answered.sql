-- Records Twilio's response to a text. The callback, which names the text's id, may have come first and takes
-- precedence. A scheduled text that Twilio did not accept fails, or is retried for an hour after the first attempt,
-- unless it was cancelled meanwhile: after a minute, and then each time after as long as it has been tried so far.
-- $1 message   $2 Twilio's id, or null when it failed   $3 Twilio's error, or null   $4 the reason, or null
-- $5 template, or null
-- $6 whether it may have been recorded before   $7 whether Twilio certainly accepted nothing, and may accept it later
with before as materialized (
  select id, twilio_sid is null and status in ('queued', 'failed') as is_news from sms_messages
  where id = $1 and (status = 'queued' or not $6) for no key update
), message as (
  update sms_messages m set twilio_sid = coalesce($2, m.twilio_sid), updated_at = now(),
    error_code = case when b.is_news then $3 else m.error_code end, error_message = case when b.is_news then $4 else m.error_message end,
    status = case when not b.is_news then m.status when $2::text is null then 'failed' else 'sent' end
  from before b where m.id = b.id
  returning m.id, m.sender_id, b.is_news
), number as (
  update phone_numbers set total_messages_sent = total_messages_sent + 1, last_used_at = now(), updated_at = now()
  where $2::text is not null and id = (select sender_id from message where is_news)
), template as (
  update sms_templates set usage_count = usage_count + 1 where $2::text is not null and id = $5 and exists (select from message)
), scheduled as (
  update scheduled_sms s set is_sent = false, sent_at = null, updated_at = now(),
    -- A text that was cancelled meanwhile stays so (app.keep_cancellation).
    is_cancelled = not ($7 and s.first_tried_at >= now() - interval '1 hour'),
    error_message = case when $7 and s.first_tried_at >= now() - interval '1 hour' and not s.is_cancelled then s.error_message else left($4, 500) end
  from message m where s.message_id = m.id and m.is_news and $2::text is null and s.is_sent
  returning s.id, s.user_id, s.first_tried_at, s.is_cancelled
), taken as (
  update scheduled_sms s set is_cancelled = false, updated_at = now()
  from message m where s.message_id = m.id and m.is_news and $2 is not null and s.is_sent and s.is_cancelled
), again as (
  insert into jobs (user_id, kind, record_id, run_at)
  select user_id, 'scheduled_sms', id, now() + greatest(interval '1 minute', now() - first_tried_at) from scheduled where not is_cancelled
)
select id from message
