update old_campaign_recipients s set problem = 'the person was erased here' where exists (select from ops.erased_addresses) and s.problem is null and ops.was_erased(s.tenant_id, s.email)
