-- Ends the job and notifies the owner of its activity, if that is still open: both or neither.
-- $1 job id
with done as (
  delete from jobs where id = $1 returning record_id
)
insert into notifications (user_id, title, message, type, link)
select a.owner_id, left('Due: ' || a.subject, 255),
  format('%s due %s UTC', initcap(a.type), to_char(a.due_date at time zone 'UTC', 'YYYY-MM-DD HH24:MI')), 'info', '/activities'
from done join activities a on a.id = done.record_id
where a.status in ('pending', 'overdue')
returning true
