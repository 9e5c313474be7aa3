-- Events that the person caused. Run while the rows exist that tell whose event it is.
-- $1 tenant   $2 contact   $3 address, lower-cased   $4 number, in E.164
select v.id from workflow_events v
where v.tenant_id = $1 and (v.record_id = $2 or v.details ->> 'contact_id' = $2::text
  or exists (
    select from unnest(array[v.details ->> 'from', v.details ->> 'to', v.details ->> 'signer_email']) f, app.mailboxes(f) m
    where m.address = $3)
  or $4 in (app.e164(v.details ->> 'from'), app.e164(v.details ->> 'to'))
  or v.record_id in (select m from ops.mails_of_person($1, $2, $3) m)
  or v.record_id in (select m from ops.texts_of_person($1, $2, $4) m))
