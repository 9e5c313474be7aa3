-- Recounts the texts of conversations after some were deleted.
-- $1 tenant
update conversations c set message_count = m.texts, unread_count = m.unread, last_message_at = m.last_at
from (select s.conversation_id, count(*) as texts, count(*) filter (where s.direction = 'inbound' and s.read_at is null) as unread,
    max(s.created_at) as last_at
  from sms_messages s where s.tenant_id = $1 and s.conversation_id is not null group by 1) m
where c.tenant_id = $1 and c.id = m.conversation_id and c.message_count <> m.texts
