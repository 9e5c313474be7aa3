-- Mail that came in, newest first.   $1 limit   $2 skip
select id, from_email, to_email, subject, body, cc, bcc, status, sent_at, read_at, contact_id, user_id, created_at, updated_at, direction, from_address, to_address,
  thread_id, attachments
from email_card where status = 'received' and not is_deleted
order by created_at desc, id desc
limit $1 offset $2
