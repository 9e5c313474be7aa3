-- Locks a scheduled workflow and its job until the transaction ends. No row if the workflow was switched off or its job
-- is not claimed any more: another worker has done it, or the workflow was saved since. A formerly historical workflow
-- has its job since it got its company, and no earlier time counts.   $1 workflow   $2 job
select w.schedule, w.last_executed_at, w.next_run_at, greatest(w.schedule_set_at, j.created_at) as schedule_set_at, c.timezone
from workflows w join companies c on c.id = w.company_id join jobs j on j.record_id = w.id
where w.id = $1 and w.status = 'active' and w.trigger = 'scheduled' and not w.is_deleted and j.id = $2 and j.attempts > 0
for no key update of w, j
