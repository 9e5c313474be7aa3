-- All mails of a mail's thread, oldest first; only the newest of a thread above 16 MiB.   $1 one of them
select id, from_email, to_email, subject, body, cc, bcc, status, sent_at, read_at, contact_id, user_id, created_at, updated_at, direction, from_address, to_address,
  thread_id, attachments
from (
  select *, sum(octet_length(body)) over (order by created_at desc, id desc rows unbounded preceding) - octet_length(body) as bytes_before
  from email_card
  where not is_deleted and id in (
    with thread as materialized (select coalesce(x.thread_id, x.id) as first from emails x where x.id = $1)
    select first from thread union select e.id from thread t join emails e on e.thread_id = t.first)) mail
where bytes_before < 16 << 20
order by created_at, id
