-- The numbers stay with what was said by them, switched off.
with detached as (
  update phone_numbers set is_active = false, updated_at = now()
  where is_active and company_id is not null and exists (select from twilio_settings where company_id is not null)
)
delete from twilio_settings where company_id is not null returning id
