-- Received mail, newest first. A page ends when its bodies reach 16 MiB; the rest is on the next one.
-- $1 limit   $2 skip
select id, from_email, to_email, subject, body, cc, bcc, status, sent_at, read_at, contact_id, user_id, created_at, updated_at, direction, from_address, to_address,
  thread_id, attachments
from (
  select *, sum(octet_length(body)) over (order by created_at desc, id desc rows unbounded preceding) - octet_length(body) as bytes_before
  from (
    select * from email_card where status = 'received' and not is_deleted
    -- cursor: and (created_at, id) < ($3, $4)
    order by created_at desc, id desc
    limit $1 offset $2) page) mail
/* cut */ where bytes_before < 16 << 20 order by created_at desc, id desc
