-- Stores a mail that came in, once, in the thread of the one that it answers. One whose Message-ID another mail has, of
-- other words or from somebody else, is known by what it says, as is one without.
-- $1 from   $2 to   $3 subject   $4 body   $5 copies, or null   $6 its Message-ID, or null   $7 the one that it
-- answers, or null
-- $8 that and those before it, the oldest first   $9 files   $10 the id under which it is known if it came within the
-- hour, or null
-- $11 its id by what it says
with mail as (
  select app.uuid_v7() as id, case when $6::text is null or exists (select from emails e where e.message_id = $6 and e.direction = 'inbound'
    and e.company_id is not null and (e.from_email, e.subject, e.body) is distinct from ($1, $3, $4)) then $11 else $6 end as message_id
), known as (
  select coalesce(e.thread_id, e.id) as thread_id from emails e
  where e.message_id = any ($8::text[]) and e.company_id is not null
  order by array_position($8::text[], e.message_id) desc, e.created_at
  limit 1
)
insert into emails (id, direction, status, from_email, to_email, subject, body, cc, message_id, in_reply_to, reference_ids, attachments, thread_id,
  contact_id)
select m.id, 'inbound', 'received', $1, $2, $3, $4, $5, m.message_id, $7, nullif(array_to_string($8::text[], ' '), ''), $9,
  coalesce((select k.thread_id from known k), m.id),
  -- Under the policy a condition with lower() reads no index: the search does, and finds the rows to compare.
  (select c.id from app.contacts_containing(app.contains($1)) c where lower(c.email) = lower($1) and not c.is_deleted and c.company_id is not null
    order by c.created_at, c.id limit 1)
from mail m
where not exists (select from emails e where e.message_id = $10 and e.direction = 'inbound' and e.company_id is not null
  and e.created_at > now() - interval '1 hour')
on conflict (tenant_id, message_id) where direction = 'inbound' and company_id is not null do nothing
returning id
