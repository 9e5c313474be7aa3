-- Another account is not verified by what Twilio has said of the previous one.
-- $1 the given columns   $2 whether another account is given
update twilio_settings t set updated_at = now(),
  (account_sid, phone_number, sendgrid_from_email, sms_enabled, voice_enabled, email_enabled, is_active) = (
    select n.account_sid, n.phone_number, n.sendgrid_from_email, n.sms_enabled, n.voice_enabled, n.email_enabled, n.is_active
    from jsonb_populate_record(t, $1) n),
  is_verified = is_verified and not $2
where company_id is not null
returning id
