-- The company's numbers, including inactive ones, which the screen can switch on again.
select id, phone_number, friendly_name, jsonb_build_object('voice', voice_enabled, 'sms', sms_enabled, 'mms', mms_enabled) as capabilities,
  is_active, rotation_enabled as use_for_rotation, rotation_enabled, total_messages_sent, total_messages_received, last_used_at, created_at
from phone_numbers where not is_deleted
order by rotation_priority desc, created_at, id
