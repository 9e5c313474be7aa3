-- A message without sender was sent from any number of the company.
update old_scheduled_sms s set from_address = coalesce(
  (select p.phone_number from phone_numbers p
   where p.tenant_id = s.tenant_id and p.is_active and p.sms_enabled and not p.is_deleted order by p.created_at, p.id limit 1),
  (select t.phone_number from twilio_settings t where t.tenant_id = s.tenant_id and t.is_active limit 1))
where coalesce(btrim(s.from_address), '') = ''
