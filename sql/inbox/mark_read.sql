-- Locks the conversation before its text, as an incoming text and conversations/mark_read do.
-- $1 text, mail or call
with conversation as materialized (
  select c.id from conversations c where c.id = (select m.conversation_id from sms_messages m where m.id = $1) for no key update
), text as (
  update sms_messages m set read_at = now(), updated_at = now() from (select count(*) from conversation) locked
  where m.id = $1 and m.read_at is null returning m.conversation_id, m.direction
), counted as (
  update conversations c set unread_count = greatest(c.unread_count - 1, 0), updated_at = now()
  from text t where c.id = t.conversation_id and t.direction = 'inbound'
), email as (
  update emails set read_at = coalesce(read_at, now()), updated_at = now() where id = $1 and not is_deleted and status <> 'draft' returning id
), call as (
  update calls set read_at = coalesce(read_at, now()), updated_at = now() where id = $1 returning id
)
select id from sms_messages where id = $1 union all select id from email union all select id from call
