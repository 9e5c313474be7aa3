-- A text that waits for a response here would be given up after ten minutes. Texts that Twilio had accepted were sent;
-- the others were not, and are not sent now.
with changed as (
  update old_sms_messages s set status = case when s.twilio_sid is null then 'failed' else 'sent' end,
    error_message = case when s.twilio_sid is null then coalesce(s.error_message, 'It was never handed to the provider') else s.error_message end
  where s.direction = 'outbound' and s.status = 'queued'
  returning s.id, s.status
)
insert into old_report (table_name, id, action, reason)
select 'sms_messages', id, 'changed', format('was queued: %s now', status) from changed
