-- $1 from   $2 to   $3 body   $4 when   $5 contact, or null   $6 template, or null
insert into scheduled_sms (from_address, to_address, body, scheduled_at, contact_id, template_id)
select s.number, $2, $3, $4, app.found_contact($5),
  app.found('Template', $6, (select t.id from sms_templates t where t.id = $6 and not t.is_deleted))
from app.sender($1, false, false) s
returning id, to_address, body, scheduled_at, is_sent, is_cancelled, error_message, created_at
