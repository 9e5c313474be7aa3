-- A person who was erased here does not come back through another contact.
update old_contacts s set problem = 'the person was erased here' where exists (select from ops.erased_addresses) and s.problem is null and ops.was_erased(s.tenant_id, ops.bare_address(s.email))
