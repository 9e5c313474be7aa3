-- Which conversation each text of a batch belongs to.   $1, $2 the batch
update old_sms_messages s set conversation_id = c.id
from conversations c
where s.n > $1 and s.n <= $2 and s.problem is null and s.company_id is not null
  and c.tenant_id = s.tenant_id and c.to_number = case s.direction when 'inbound' then s.from_address else s.to_address end
  and not c.is_deleted and c.company_id is not null
