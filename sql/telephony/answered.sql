-- What Twilio answered to a text. Its callback may have come first and stays.
-- $1 message   $2 Twilio's id, or null when it failed   $3 Twilio's error, or null   $4 the reason, or null   $5 template, or null
-- $6 whether it may have been written down before
with message as (
  update sms_messages set twilio_sid = coalesce($2, twilio_sid), error_code = coalesce($3, error_code),
    error_message = coalesce($4, error_message), updated_at = now(),
    status = case when status = 'queued' then case when $2::text is null then 'failed' else 'sent' end else status end
  where id = $1 and (status = 'queued' or not $6)
  returning id, sender_id
), number as (
  update phone_numbers set total_messages_sent = total_messages_sent + 1, last_used_at = now(), updated_at = now()
  where $2::text is not null and id = (select sender_id from message)
), template as (
  update sms_templates set usage_count = usage_count + 1 where $2::text is not null and id = $5 and exists (select from message)
)
select id from message
