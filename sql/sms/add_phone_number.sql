-- $1 number   $2 name   $3 Twilio's id   $4 in rotation   $5 priority
insert into phone_numbers (phone_number, friendly_name, twilio_sid, rotation_enabled, rotation_priority)
values ($1, $2, $3, $4, $5)
returning id, phone_number, friendly_name, jsonb_build_object('voice', voice_enabled, 'sms', sms_enabled, 'mms', mms_enabled) as capabilities,
  is_active, rotation_enabled as use_for_rotation, rotation_enabled, total_messages_sent, total_messages_received, last_used_at, created_at
