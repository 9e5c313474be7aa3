-- The conversations of a batch of texts, as `app.keep_message` finds or opens one for each: a text at a time counts the same
-- conversation up over and over.   $1, $2 the batch
insert into conversations as c (tenant_id, company_id, user_id, to_number, from_twilio_number, last_message_at, message_count, unread_count)
select s.tenant_id, s.company_id, (array_agg(s.user_id order by s.n))[1], n.customer, (array_agg(n.own order by s.n))[1],
  max(s.created_at), count(*), count(*) filter (where s.direction = 'inbound' and s.read_at is null)
from old_sms_messages s, lateral (
  select case s.direction when 'inbound' then s.from_address else s.to_address end as customer,
    case s.direction when 'inbound' then s.to_address else s.from_address end as own) n
where s.n > $1 and s.n <= $2 and s.problem is null and s.company_id is not null
group by s.tenant_id, s.company_id, n.customer
on conflict (tenant_id, to_number) where not is_deleted and company_id is not null do update set
  message_count = c.message_count + excluded.message_count, unread_count = c.unread_count + excluded.unread_count,
  last_message_at = greatest(c.last_message_at, excluded.last_message_at), updated_at = now()
