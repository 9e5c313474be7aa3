-- Removes an address from the mails that name it; returns their ids.
-- $1 tenant   $2 address, lower-cased   $3 mails that are deleted anyway   $4 false to change nothing
with found as (
  select e.id from emails e
  where e.tenant_id = $1 and position($2 in lower(concat_ws(',', e.from_email, e.to_email, e.cc, e.bcc))) > 0 and e.id <> all ($3)
    and exists (select from unnest(array[e.from_email, e.to_email, e.cc, e.bcc]) f, app.mailboxes(f) m where m.address = $2)
), cleared as (
  update emails e set
    from_email = coalesce(ops.without_address(e.from_email, $2), 'erased@deleted.invalid'),
    to_email = coalesce(ops.without_address(e.to_email, $2), 'erased@deleted.invalid'),
    cc = ops.without_address(e.cc, $2), bcc = ops.without_address(e.bcc, $2)
  from found where $4 and e.tenant_id = $1 and e.id = found.id
)
select id from found
