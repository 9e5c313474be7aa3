-- The conversations of a batch of texts, as `app.keep_message` finds or opens one for each: one text at a time would
-- update the counters of the same conversation over and over.   $1, $2 the batch
with text as materialized (
  select s.n, s.tenant_id, s.company_id, s.user_id, s.created_at, (s.direction = 'inbound' and s.read_at is null) as is_unread,
    case s.direction when 'inbound' then s.from_address else s.to_address end as customer,
    case s.direction when 'inbound' then s.to_address else s.from_address end as own
  from old_sms_messages s where s.n > $1 and s.n <= $2 and s.problem is null and s.company_id is not null
), conversation as (
  insert into conversations as c (tenant_id, company_id, user_id, to_number, from_twilio_number, last_message_at, message_count, unread_count)
  select t.tenant_id, t.company_id, (array_agg(t.user_id order by t.n))[1], t.customer, (array_agg(t.own order by t.n))[1],
    max(t.created_at), count(*), count(*) filter (where t.is_unread)
  from text t group by t.tenant_id, t.company_id, t.customer
  on conflict (tenant_id, to_number) where not is_deleted and company_id is not null do update set
    message_count = c.message_count + excluded.message_count, unread_count = c.unread_count + excluded.unread_count,
    last_message_at = greatest(c.last_message_at, excluded.last_message_at), updated_at = now()
  returning c.id, c.tenant_id, c.to_number
)
update old_sms_messages s set conversation_id = c.id
from text t join conversation c on c.tenant_id = t.tenant_id and c.to_number = t.customer
where s.n = t.n
