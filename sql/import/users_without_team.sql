insert into old_report (table_name, id, action, reason)
select 'users', u.id, 'detached', 'team_id is another company''s or did not come over'
from old_users s join users u on u.id = s.id
where s.problem is null and s.old_team_id is not null and u.team_id is null
