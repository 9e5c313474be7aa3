-- Reported by each run, like rows that are left out.
insert into old_report (table_name, id, action, reason)
select 'users', u.id, 'detached', 'team_id is another company''s or did not come over'
from old_user_teams m join users u on u.id = m.user_id
where u.team_id is null and exists (select from ops.imported i where i.table_name = 'users' and i.id = u.id)
  and not exists (select from teams t where t.id = m.team_id and t.tenant_id = u.company_id)
