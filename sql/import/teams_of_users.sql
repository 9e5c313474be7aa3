-- The users' teams, which could be made only after the users.
with joined as (
  update users u set team_id = t.id from old_users s join teams t on t.id = s.old_team_id
  where u.id = s.id and s.problem is null and u.company_id = t.tenant_id
  returning u.id
)
insert into old_report (table_name, id, action, reason)
select 'users', s.id, 'detached', 'team_id is another company''s or did not come over' from old_users s
where s.problem is null and s.old_team_id is not null and not exists (select from joined j where j.id = s.id)
