-- Writes a mail down before it is sent.   $1 to   $2 subject   $3 body   $4 cc   $5 bcc   $6 contact, or null
insert into emails (direction, status, is_sending, from_email, to_email, subject, body, cc, bcc, contact_id)
select 'outbound', 'scheduled', true, u.email, $1, $2, $3, $4, $5,
  app.found('Contact', $6, (select c.id from contacts c where c.id = $6 and not c.is_deleted))
from users u where u.id = (select app.user_id())
returning id
