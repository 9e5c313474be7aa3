-- Makes a contact of who writes for the first time, if the company's settings say so. Contacts have an address: this one
-- can never be written to (RFC 2606).   $1 number   $2 its digits
insert into contacts (first_name, last_name, email, phone, type, status)
select $1, '', $2 || '@sms.invalid', $1, 'Lead', 'NEW'
from companies c
where (c.settings ->> 'add_unknown_senders')::boolean and $2 <> ''
  and not exists (select from contacts x where x.phone_digits in ($2, right($2, 10)) and not x.is_deleted and x.company_id is not null)
on conflict do nothing
returning id
