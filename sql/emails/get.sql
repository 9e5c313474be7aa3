-- $1 id
select id, from_email, to_email, subject, body, cc, bcc, status, sent_at, read_at, contact_id, user_id, created_at, updated_at, direction, from_address, to_address,
  thread_id, attachments
from email_card where id = $1
