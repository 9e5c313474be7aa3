-- Creates a contact for a number that writes for the first time, if the company's settings say so. Contacts need an
-- address: this one can never be written to (RFC 2606).   $1 number   $2 its digits
insert into contacts (first_name, last_name, email, phone, type, status)
select $1, '', $2 || '@sms.invalid', $1, 'Lead', 'NEW'
from companies c
where (c.settings ->> 'add_unknown_senders')::boolean and $2 <> ''
  and app.contact_of_number($1) is null
on conflict do nothing
returning id
