-- Texts, mail and calls in one list, newest first; each arm reads no more than the page needs. A page ends when its
-- bodies reach 16 MiB; the rest is on the next one. Without the conditions of inbox/filter, which PostgreSQL would set
-- up at each execution, used or not.
-- $1 limit   $2 skip
with message as (
  (select * from (
    select m.id, 'sms' as message_type, m.direction, case when m.read_at is not null then 'read' when m.status = 'queued' then 'pending'
        when m.status = 'received' then 'delivered' when m.status = 'undelivered' then 'failed' else m.status end as status,
      m.from_address, m.to_address, null as subject, m.body, m.created_at as sent_at, m.delivered_at, m.read_at, m.contact_id
    from sms_messages m) text
  -- cursor: where (sent_at, id) < ($3, $4)
  order by sent_at desc, id desc limit $1::bigint + $2::bigint)
  union all
  (select * from (
    select e.id, 'email', e.direction, case when e.read_at is not null or e.status in ('opened', 'clicked') then 'read'
        when e.status = 'received' then 'delivered' when e.status = 'bounced' then 'failed' when e.status = 'scheduled' then 'pending'
        else e.status end as status,
      e.from_email, e.to_email, e.subject, e.body, e.created_at as sent_at, null::timestamptz, e.read_at, e.contact_id
    from emails e where e.status <> 'draft' and not e.is_deleted) email
  -- cursor: where (sent_at, id) < ($3, $4)
  order by sent_at desc, id desc limit $1::bigint + $2::bigint)
  union all
  (select * from (
    select c.id, 'voice', c.direction, case when c.read_at is not null then 'read' when c.status = 'completed' then 'delivered'
        when c.status in ('initiated', 'ringing', 'in-progress') then 'pending' else 'failed' end as status,
      c.from_address, c.to_address, null, coalesce(c.notes, ''), c.created_at as sent_at, c.ended_at, c.read_at, c.contact_id
    from calls c) call
  -- cursor: where (sent_at, id) < ($3, $4)
  order by sent_at desc, id desc limit $1::bigint + $2::bigint)
)
select id, message_type, direction, status, from_address, to_address, subject, body, sent_at, delivered_at, read_at, contact_id
from (
  select *, sum(octet_length(body)) over (order by sent_at desc, id desc rows unbounded preceding) - octet_length(body) as bytes_before
  from (select * from message order by sent_at desc, id desc limit $1 offset $2) page) message
/* cut */ where bytes_before < 16 << 20 order by sent_at desc, id desc
