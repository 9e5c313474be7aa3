-- $1 account   $2 number   $3 sender of mail   $4 texts   $5 calls   $6 mail   $7 whether Twilio knows the account
insert into twilio_settings (account_sid, phone_number, sendgrid_from_email, sms_enabled, voice_enabled, email_enabled, is_verified, last_verified_at)
values ($1, $2, $3, $4, $5, $6, $7, case when $7 then now() end)
returning id
