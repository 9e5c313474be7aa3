-- $1 job   $2 text, call or mail
with text as (
  update sms_messages set status = 'failed', error_message = 'The server stopped while it was sent: it may have arrived', updated_at = now()
  where id = $2 and status = 'queued'
  returning id
), call as (
  update calls set status = 'failed', error_message = 'The server stopped while it was made', ended_at = now(), updated_at = now()
  where id = $2 and status = 'initiated' and twilio_sid is null
), email as (
  update emails set is_sending = false, updated_at = now(),
    -- The outcome may be known already.
    status = case when app.email_rank(status) > 1 then status else 'failed' end,
    error_message = case when app.email_rank(status) <= 1 then 'The server stopped while it was sent: it may have arrived' end
  where id = $2 and is_sending
), scheduled as (
  update scheduled_sms s set error_message = 'The server stopped while it was sent: it may have arrived', updated_at = now()
  from text t where s.message_id = t.id
)
delete from jobs where id = $1 returning true
