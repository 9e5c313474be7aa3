-- A mail to each of some contacts, and replies from most of them.
-- $1 company
with mail as (
  select c.id as contact_id, c.owner_id, c.email, c.first_name, u.email as own, n.n, now() - interval '1 day' * n.n as moment,
    app.uuid_v7() as id
  from contacts c
  join (select k.id, row_number() over (order by k.created_at desc, k.id) as n from contacts k where k.tenant_id = $1) n on n.id = c.id
  join users u on u.id = c.owner_id
  where n.n <= 9
)
insert into emails (id, tenant_id, company_id, user_id, contact_id, direction, status, from_email, to_email, subject, body, message_id, thread_id,
  in_reply_to, reference_ids, sent_at, read_at, opened_at, open_count, created_at, updated_at)
select m.id, $1, $1, m.owner_id, m.contact_id, 'outbound', case when m.n % 3 = 0 then 'sent' else 'opened' end, m.own, m.email,
  'Our talk', '<p>Dear ' || m.first_name || ',</p><p>thank you for your time. Shall we meet again next week?</p>',
  m.id || '@mail.example', m.id, null, null, m.moment, case when m.n % 3 <> 0 then m.moment + interval '40 minutes' end,
  case when m.n % 3 <> 0 then m.moment + interval '40 minutes' end, (m.n % 3 <> 0)::int, m.moment, m.moment
from mail m
union all
select app.uuid_v7(), $1, $1, m.owner_id, m.contact_id, 'inbound', 'received', m.email, m.own, 'Re: Our talk',
  'Yes, Tuesday at ten would be fine.' || chr(10) || m.first_name, 'answer-' || m.id || '@mail.example', m.id, m.id || '@mail.example',
  m.id || '@mail.example', null, case when m.n > 3 then m.moment + interval '5 hours' end, null, 0, m.moment + interval '3 hours', m.moment + interval '3 hours'
from mail m where m.n % 3 <> 0
