-- $1 id   $2 messages at most
select id, user_id, to_number, from_twilio_number, conversation_status, last_message_at, created_at, message_count, unread_count,
  (select coalesce(jsonb_agg(jsonb_build_object('id', m.id, 'direction', m.direction, 'from_address', m.from_address,
      'to_address', m.to_address, 'body', m.body, 'status', m.status, 'created_at', app.wire_time(m.created_at),
      'is_auto_response', m.is_auto_response) order by m.created_at desc, m.id desc), '[]')
    from (select * from sms_messages s where s.conversation_id = c.id order by s.created_at desc, s.id desc limit $2) m) as recent_messages
from conversations c where id = $1 and not is_deleted
