-- The company's settings.   $1 the end of its key, or null
select id, user_id, account_sid, phone_number, '****' || $1::text as sendgrid_api_key,
  sendgrid_from_email, sms_enabled, voice_enabled, email_enabled, is_active, is_verified, created_at, updated_at, last_verified_at
from twilio_settings where company_id is not null
