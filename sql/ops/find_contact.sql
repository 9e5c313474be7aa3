-- As people_of_address.sql finds one.
-- $1 contact
select c.id, c.tenant_id, coalesce(nullif(ltrim(c.phone_digits, '0'), ''), '-') as digits, nullif(ops.bare_address(c.email), '') as email
from contacts c where c.id = $1
