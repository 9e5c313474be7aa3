-- The company's Twilio account; its token is app.company_secret's.
select company_id, account_sid, is_verified, sms_enabled, voice_enabled
from twilio_settings where is_active
