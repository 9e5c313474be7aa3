-- Mail, newest first. A page ends when its bodies reach 16 MiB; the rest is on the next one.
-- $1 sent, draft, trash, or all that is not deleted   $2 limit   $3 skip
select id, from_email, to_email, subject, body, cc, bcc, status, sent_at, read_at, contact_id, user_id, created_at, updated_at, direction, from_address, to_address,
  thread_id, attachments
from (
  select *, sum(octet_length(body)) over (order by created_at desc, id desc rows unbounded preceding) - octet_length(body) as bytes_before
  from (
    select * from email_card
    where is_deleted = ($1 = 'trash') and case $1
        when 'sent' then direction = 'outbound' and user_id = (select app.user_id()) and status in ('sent', 'delivered', 'opened', 'clicked', 'bounced')
        when 'draft' then status = 'draft' else true end
    -- cursor: and (created_at, id) < ($4, $5)
    order by created_at desc, id desc
    limit $2 offset $3) page) mail
/* cut */ where bytes_before < 16 << 20 order by created_at desc, id desc
