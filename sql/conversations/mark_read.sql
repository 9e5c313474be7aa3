-- Locks the conversation before its texts, as an incoming text does: a text that arrives meanwhile stays unread.
-- $1 id
with conversation as materialized (
  select c.id from conversations c where c.id = $1 and not c.is_deleted for no key update
), read as (
  update sms_messages m set read_at = now(), updated_at = now() from conversation c
  where m.conversation_id = c.id and m.direction = 'inbound' and m.read_at is null
  returning m.id
)
update conversations c set unread_count = greatest(c.unread_count - (select count(*) from read)::int, 0), updated_at = now()
from conversation locked where c.id = locked.id
returning c.id
