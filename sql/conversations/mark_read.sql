-- $1 id
with read as (
  update sms_messages set read_at = now(), updated_at = now()
  where conversation_id = $1 and direction = 'inbound' and read_at is null
)
update conversations set unread_count = 0, updated_at = now() where id = $1 and not is_deleted returning id
