-- Figures of the company's own conversations and numbers.
with active as (
  select from_twilio_number, count(*) as conversations from conversations where conversation_status = 'active' and not is_deleted and company_id is not null group by 1
), own as materialized (
  -- Read on its own, because the index of the numbers in use spans all companies.
  select * from phone_numbers where not is_deleted and company_id is not null
), number as (
  select n.phone_number, n.friendly_name, n.rotation_enabled, n.rotation_priority,
    app.wire_time(n.last_used_at) as last_used_at,
    coalesce(a.conversations, 0) as active_conversations,
    n.total_messages_sent + n.total_messages_received as total_messages
  from own n left join active a on a.from_twilio_number = n.phone_number
  where n.is_active
  order by n.rotation_priority desc, n.created_at, n.id
)
select count(*) as total_conversations,
  count(*) filter (where conversation_status = 'active') as active_conversations,
  count(*) filter (where conversation_status = 'blocked') as blocked_conversations,
  count(*) filter (where conversation_status = 'inactive') as inactive_conversations,
  (select jsonb_build_object('total_numbers', count(*), 'numbers', coalesce(jsonb_agg(to_jsonb(n)), '[]')) from number n) as phone_numbers
from conversations where not is_deleted and company_id is not null
