-- Companies that are suspended, or whose subscription has ended: unlike the old backend, this one locks their users
-- out.
insert into old_report (table_name, id, action, reason)
select 'companies', s.id, 'noted', format('the status is %s and the subscription %s: nobody gets in until a super admin sets the status to active',
  s.status, s.subscription_status)
from old_companies s where s.problem is null and app.is_blocked(s.status, s.subscription_status)
