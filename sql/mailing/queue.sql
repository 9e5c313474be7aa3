-- Records a mail before it is sent, or as a draft.
-- $1 to   $2 subject   $3 body   $4 cc   $5 bcc   $6 contact, or null   $7 the mail that it answers, or null   $8 files
-- $9 their bytes at most
-- $10 the host of its Message-ID   $11 whether it is a draft   $12 the run that sends it, or null
with mail as (
  select app.uuid_v7() as id
), answered as (
  select e.id, coalesce(e.thread_id, e.id) as thread_id, e.message_id, e.reference_ids from emails e where e.id = $7 and not e.is_deleted
)
insert into emails (id, direction, status, is_sending, from_email, to_email, subject, body, cc, bcc, contact_id, attachments, message_id,
  thread_id, in_reply_to, reference_ids, execution_id)
select m.id, 'outbound', case when $11 then 'draft' else 'scheduled' end, not $11, u.email, $1, $2, $3, $4, $5,
  app.found_contact($6), app.attachable($8, $9), m.id || '@' || $10,
  case when app.found('Email', $7, a.id) is null then m.id else a.thread_id end,
  a.message_id, nullif(right(concat_ws(' ', a.reference_ids, a.message_id), 8000), ''), $12
from users u cross join mail m left join answered a on true
where u.id = (select app.user_id())
returning id, company_id, user_id, message_id, in_reply_to, reference_ids
