-- A workflow that runs by the clock, held until the transaction ends.   $1 workflow
select w.schedule, w.last_executed_at, w.next_run_at, c.timezone
from workflows w join companies c on c.id = w.company_id
where w.id = $1 and w.status = 'active' and w.trigger = 'scheduled' and not w.is_deleted
for no key update of w
