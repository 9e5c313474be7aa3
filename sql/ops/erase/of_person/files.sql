-- The contact's files, and those that came with the person's mails, unless another mail has them too. What the company
-- sent is its own. Run while the mails exist.
-- $1 tenant   $2 contact   $3 address, lower-cased
with mail as (
  select e.attachments, e.direction, e.id in (select m from ops.mails_of_person($1, $2, $3) m) as is_theirs
  from emails e where e.tenant_id = $1
)
select f.id from files f
where f.tenant_id = $1 and (f.contact_id = $2 or f.id in (
  select unnest(m.attachments) from mail m where m.is_theirs and m.direction = 'inbound'
  except select unnest(m.attachments) from mail m where not m.is_theirs))
