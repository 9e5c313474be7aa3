-- As people_of_address.sql finds one.
-- $1 contact
select c.id, c.tenant_id, coalesce(nullif(ltrim(c.phone_digits, '0'), ''), '-') as digits, nullif(lower(btrim(c.email, E' \t\n\f\r\u00a0')), '') as email
from contacts c where c.id = $1
