-- Adds a number, or switches one on again that was switched off with the company's settings; no row if it exists
-- otherwise.
-- $1 number   $2 name   $3 Twilio's id   $4 in rotation   $5 priority
insert into phone_numbers as n (phone_number, friendly_name, twilio_sid, rotation_enabled, rotation_priority)
values ($1, $2, $3, $4, $5)
on conflict (tenant_id, phone_number) where not is_deleted and company_id is not null do update
  set friendly_name = coalesce(excluded.friendly_name, n.friendly_name), twilio_sid = coalesce(excluded.twilio_sid, n.twilio_sid),
    rotation_enabled = excluded.rotation_enabled, rotation_priority = excluded.rotation_priority, is_active = true, detached_from = null,
    updated_at = now()
  where not n.is_active and n.detached_from is not null
returning id, phone_number, friendly_name, jsonb_build_object('voice', voice_enabled, 'sms', sms_enabled, 'mms', mms_enabled) as capabilities,
  is_active, rotation_enabled as use_for_rotation, rotation_enabled, total_messages_sent, total_messages_received, last_used_at, created_at
