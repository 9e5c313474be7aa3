-- A contact, with the columns of people_of_address.sql.
-- $1 contact
select c.id, c.tenant_id, coalesce(app.e164(c.phone), '-') as number, nullif(ops.bare_address(c.email), '') as email
from contacts c where c.id = $1
