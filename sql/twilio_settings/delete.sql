-- The numbers stay with what was said by them, switched off.
with detached as (
  update phone_numbers set is_active = false, updated_at = now() where is_active and exists (select from twilio_settings)
)
delete from twilio_settings returning id
