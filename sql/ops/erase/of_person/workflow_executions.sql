-- Runs that the person, or a record of theirs, triggered. Run while the rows exist that tell whose run it is.
-- $1 tenant   $2 contact   $3 address, lower-cased   $4 number, in E.164
select x.id from workflow_executions x
where x.tenant_id = $1 and (x.record_id = $2 or x.trigger_data ->> 'contact_id' = $2::text or x.at_event -> 'contact' ->> 'id' = $2::text
  or exists (
    select from unnest(array[x.trigger_data ->> 'from', x.trigger_data ->> 'to', x.trigger_data ->> 'signer_email']) f, app.mailboxes(f) m
    where m.address = $3)
  or $4 in (app.e164(x.trigger_data ->> 'from'), app.e164(x.trigger_data ->> 'to'))
  or x.record_id in (select m from ops.mails_of_person($1, $2, $3) m)
  or x.record_id in (select m from ops.texts_of_person($1, $2, $4) m)
  or x.record_id in (select d.id from deals d where d.tenant_id = $1 and d.contact_id = $2)
  or x.record_id in (select a.id from activities a where a.tenant_id = $1 and a.contact_id = $2))
