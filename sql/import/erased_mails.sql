-- The mails that erasing a person would delete: nobody else sent or received them.
update old_emails s set problem = 'the person was erased here'
where exists (select from ops.erased_addresses) and s.problem is null and (select bool_and(ops.was_erased(s.tenant_id, m.address))
  from app.mailboxes(case s.direction when 'inbound' then s.from_email else s.to_email end) m)
