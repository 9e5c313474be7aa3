-- Texts, mail and calls in one list, the newest first; each arm reads no more than the page needs.
-- $1 sms, email, voice, or null   $2 direction, or null   $3 status, or null   $4 limit   $5 skip
with message as (
  (select m.id, 'sms' as message_type, m.direction, case when m.read_at is not null then 'read' when m.status = 'queued' then 'pending'
      when m.status = 'received' then 'delivered' when m.status = 'undelivered' then 'failed' else m.status end as status,
    m.from_address, m.to_address, null as subject, m.body, m.created_at as sent_at, m.delivered_at, m.read_at, m.contact_id
  from sms_messages m
  where ($1::text is null or $1 = 'sms') and ($2::text is null or m.direction = $2) and ($3::text is null or $3 = case
      when m.read_at is not null then 'read' when m.status = 'queued' then 'pending' when m.status = 'received' then 'delivered'
      when m.status = 'undelivered' then 'failed' else m.status end)
  order by m.created_at desc, m.id desc limit $4::bigint + $5::bigint)
  union all
  (select e.id, 'email', e.direction, case when e.read_at is not null or e.status in ('opened', 'clicked') then 'read'
      when e.status = 'received' then 'delivered' when e.status = 'bounced' then 'failed' when e.status = 'scheduled' then 'pending' else e.status end,
    e.from_email, e.to_email, e.subject, e.body, e.created_at, null, e.read_at, e.contact_id
  from emails e
  where ($1::text is null or $1 = 'email') and ($2::text is null or e.direction = $2) and e.status <> 'draft' and not e.is_deleted
    and ($3::text is null or $3 = case when e.read_at is not null or e.status in ('opened', 'clicked') then 'read'
      when e.status = 'received' then 'delivered' when e.status = 'bounced' then 'failed' when e.status = 'scheduled' then 'pending' else e.status end)
  order by e.created_at desc, e.id desc limit $4::bigint + $5::bigint)
  union all
  (select c.id, 'voice', c.direction, case when c.read_at is not null then 'read' when c.status = 'completed' then 'delivered'
      when c.status in ('initiated', 'ringing', 'in-progress') then 'pending' else 'failed' end,
    c.from_address, c.to_address, null, coalesce(c.notes, ''), c.created_at, c.ended_at, c.read_at, c.contact_id
  from calls c
  where ($1::text is null or $1 = 'voice') and ($2::text is null or c.direction = $2) and ($3::text is null or $3 = case
      when c.read_at is not null then 'read' when c.status = 'completed' then 'delivered'
      when c.status in ('initiated', 'ringing', 'in-progress') then 'pending' else 'failed' end)
  order by c.created_at desc, c.id desc limit $4::bigint + $5::bigint)
)
select id, message_type, direction, status, from_address, to_address, subject, body, sent_at, delivered_at, read_at, contact_id
from message
order by sent_at desc, id desc
limit $4 offset $5
