-- The company's Twilio account, with the sealed token that app.company_secret keeps.
select s.company_id, s.account_sid, s.is_active, s.is_verified, s.sms_enabled, s.voice_enabled, k.sealed as sealed_token
from twilio_settings s, app.company_secret('twilio_auth_token') as k (sealed)
where s.company_id is not null and k.sealed is not null
