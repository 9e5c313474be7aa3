-- The numbers and their history stay; they are switched off until settings of their account are entered again.
with detached as (
  update phone_numbers n set is_active = false, detached_from = s.account_sid, updated_at = now()
  from twilio_settings s where s.company_id is not null and n.is_active and n.company_id is not null
)
delete from twilio_settings where company_id is not null returning id
