update old_campaign_recipients s set problem = 'the person was erased here' where s.problem is null and ops.was_erased(s.tenant_id, s.email)
