-- Takes an address out of the mails that name it.
-- $1 tenant   $2 address, lower-cased
update emails e set
  from_email = coalesce(ops.without_address(e.from_email, $2), 'erased@deleted.invalid'),
  to_email = coalesce(ops.without_address(e.to_email, $2), 'erased@deleted.invalid'),
  cc = ops.without_address(e.cc, $2), bcc = ops.without_address(e.bcc, $2)
where e.tenant_id = $1 and position($2 in lower(concat_ws(',', e.from_email, e.to_email, e.cc, e.bcc))) > 0
  and exists (select from unnest(array[e.from_email, e.to_email, e.cc, e.bcc]) f, app.mailboxes(f) m where m.address = $2)
