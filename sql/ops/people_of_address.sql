-- The contacts with an address, the users, and the companies that know it without such a contact: from mails, campaigns or
-- an invitation. The digits of a number are those without the zeros that stand for the country or before a town.
-- $1 address, lower-cased   $2 company, or null
select 'contact' as kind, c.id, c.tenant_id, coalesce(nullif(ltrim(c.phone_digits, '0'), ''), '-') as digits from contacts c
where lower(c.email) = $1 and ($2::uuid is null or c.tenant_id = $2)
union all
select 'user', u.id, coalesce(u.company_id, u.id), '-' from users u
where app.global_key(u.email) = app.global_key($1) and ($2::uuid is null or u.company_id = $2)
union all
select 'address', '00000000-0000-0000-0000-000000000000', a.tenant_id, '-'
from (
  select i.tenant_id from invitations i where i.email = $1
  union select r.tenant_id from campaign_recipients r where r.email = $1
  union select e.tenant_id from emails e
  where position($1 in lower(concat_ws(',', e.from_email, e.to_email, e.cc, e.bcc))) > 0
    and exists (select from unnest(array[e.from_email, e.to_email, e.cc, e.bcc]) f, app.mailboxes(f) m where m.address = $1)
) a
where ($2::uuid is null or a.tenant_id = $2)
  and not exists (select from contacts c where c.tenant_id = a.tenant_id and lower(c.email) = $1)
order by 1, 2, 3
