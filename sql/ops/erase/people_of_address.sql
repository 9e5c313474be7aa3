-- The contacts with an address, the users, and the companies that know it without such a contact: from mails,
-- campaigns, invitations, workflows, notifications, the audit log, or because they registered with it. Numbers are in
-- E.164. Addresses are compared without surrounding blanks and names.
-- $1 address, lower-cased   $2 company, or null
select 'contact' as kind, c.id, c.tenant_id, coalesce(app.e164(c.phone), '-') as number from contacts c
where ops.bare_address(c.email) = $1 and ($2::uuid is null or c.tenant_id = $2)
union all
select 'user', u.id, coalesce(u.company_id, u.id), coalesce(app.e164(u.phone), '-') from users u
where app.global_key(u.email) = app.global_key($1) and ($2::uuid is null or u.company_id = $2)
union all
select 'address', '00000000-0000-0000-0000-000000000000', a.tenant_id, '-'
from (
  select i.tenant_id from invitations i where i.email = $1
  union select r.tenant_id from campaign_recipients r where ops.bare_address(r.email) = $1
  union select e.tenant_id from emails e
  where position($1 in lower(concat_ws(',', e.from_email, e.to_email, e.cc, e.bcc))) > 0
    and exists (select from unnest(array[e.from_email, e.to_email, e.cc, e.bcc]) f, app.mailboxes(f) m where m.address = $1)
  union select w.tenant_id
  from (select tenant_id, details as data from workflow_events union all select tenant_id, trigger_data from workflow_executions) w
  where position($1 in lower(w.data::text)) > 0
    and exists (select from unnest(array[w.data ->> 'from', w.data ->> 'to', w.data ->> 'signer_email']) f, app.mailboxes(f) m where m.address = $1)
  union select s.tenant_id from workflow_steps s where ops.names(s.input, $1) or ops.names(s.result, $1) or ops.names(to_jsonb(s.error_message), $1)
  union select n.tenant_id from notifications n where ops.names(to_jsonb(n.title || ' ' || n.message), $1)
  union select l.tenant_id from audit_log l where ops.names(l.before, $1) or ops.names(l.after, $1)
  union select c.id from companies c where ops.bare_address(c.email) = $1
) a
where ($2::uuid is null or a.tenant_id = $2)
  and not exists (select from contacts c where c.tenant_id = a.tenant_id and ops.bare_address(c.email) = $1)
order by 1, 2, 3
