-- The addresses in a company's rows of people who were erased here.
-- $1 company
select distinct lower(a.address) as address
from (
  select u.email from users u where u.company_id = $1
  union select ops.bare_address(c.email) from contacts c where c.tenant_id = $1
  union select r.email from campaign_recipients r where r.tenant_id = $1
  union select i.email from invitations i where i.tenant_id = $1
  union select m.address from emails e, unnest(array[e.from_email, e.to_email, e.cc, e.bcc]) f, app.mailboxes(f) m where e.tenant_id = $1
) a (address)
where exists (select from ops.erased_addresses) and ops.was_erased($1, a.address)
order by 1
