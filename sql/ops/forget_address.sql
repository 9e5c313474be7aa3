-- Takes an address out of the mails that name it.
-- $1 tenant   $2 address, lower-cased
update emails e set
  from_email = case when $2 in (select m.address from app.mailboxes(e.from_email) m) then 'erased@deleted.invalid' else e.from_email end,
  to_email = case when $2 in (select m.address from app.mailboxes(e.to_email) m) then 'erased@deleted.invalid' else e.to_email end,
  cc = (select string_agg(m.mailbox, ',') from app.mailboxes(e.cc) m where m.address <> $2),
  bcc = (select string_agg(m.mailbox, ',') from app.mailboxes(e.bcc) m where m.address <> $2)
where e.tenant_id = $1 and position($2 in lower(concat_ws(',', e.from_email, e.to_email, e.cc, e.bcc))) > 0
  and exists (select from unnest(array[e.from_email, e.to_email, e.cc, e.bcc]) f, app.mailboxes(f) m where m.address = $2)
