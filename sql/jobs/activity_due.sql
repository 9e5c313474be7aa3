-- Notifies the owner of an activity that it is due, if it is still open, and ends the job: both or neither. If the
-- activity was moved meanwhile, the job waits for the new time.
-- $1 job, which is held
with activity as (
  select a.*, coalesce(a.due_date > now() + interval '1 minute', false) as is_early
  from jobs j join activities a on a.id = j.record_id where j.id = $1
), early as (
  update jobs j set run_at = a.due_date, attempts = 0 from activity a where j.id = $1 and a.is_early
), done as (
  delete from jobs where id = $1 and not exists (select from activity a where a.is_early)
)
insert into notifications (user_id, title, message, type, link)
select a.owner_id, left('Due: ' || a.subject, 255),
  format('%s due %s UTC', initcap(a.type), to_char(a.due_date at time zone 'UTC', 'YYYY-MM-DD HH24:MI')), 'info', '/activities'
from activity a
where a.status in ('pending', 'overdue') and not a.is_early
returning true
