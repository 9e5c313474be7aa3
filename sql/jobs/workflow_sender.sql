-- The number by which a run texts somebody: the one to which they wrote the text that started it, or else that of their
-- conversation. None when the company does not use it any more.   $1 execution   $2 recipient
select f.number
from (
  select 1 as place, m.to_address as number from workflow_executions x join sms_messages m on m.id = x.record_id
  where x.id = $1 and x.event = 'inbound_sms' and m.from_address = $2
  union all
  select 2, c.from_twilio_number from conversations c where c.to_number = $2 and not c.is_deleted and c.company_id is not null
) s, app.find_sender(s.number, false, false) f
where f.number is not null
order by s.place limit 1
