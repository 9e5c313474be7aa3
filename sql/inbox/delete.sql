-- Deletes a text, mail or call, and answers whether that was so: one for which the provider is being asked, which takes
-- five minutes at most, stays, because what becomes of it is written to its row, and what depends on it with that. The
-- conversation is locked before its text, as an incoming text and conversations/mark_read do.   $1 text, mail or call
with text as (
  delete from sms_messages m
  where m.id = $1 and not (m.direction = 'outbound' and m.status = 'queued' and m.twilio_sid is null and m.updated_at > now() - interval '5 minutes')
  returning m.id, m.conversation_id, (m.direction = 'inbound' and m.read_at is null)::int as unread
), counted as (
  update conversations c set message_count = greatest(c.message_count - 1, 0), unread_count = greatest(c.unread_count - t.unread, 0),
    last_message_at = coalesce((select max(m.created_at) from sms_messages m where m.conversation_id = t.conversation_id and m.id <> t.id),
      c.last_message_at), updated_at = now()
  from text t where c.id = t.conversation_id
), email as (
  delete from emails where id = $1 and not is_deleted and status <> 'draft' and not is_sending returning id
), call as (
  delete from calls
  where id = $1 and not (direction = 'outbound' and status = 'initiated' and twilio_sid is null and created_at > now() - interval '5 minutes')
  returning id
)
select bool_or(d.is_deleted) as is_deleted from (
  select true as is_deleted from text union all select true from email union all select true from call
  union all select false from sms_messages where id = $1
  union all select false from emails where id = $1 and not is_deleted and status <> 'draft'
  union all select false from calls where id = $1
) d having count(*) > 0
