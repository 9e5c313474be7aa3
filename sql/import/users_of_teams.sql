-- Existing users of new teams.
-- $1, $2 the batch
update users u set team_id = t.id from old_teams s join teams t on t.id = s.id join old_user_teams m on m.team_id = t.id
where u.id = m.user_id and s.n > $1 and s.n <= $2 and s.problem is null and u.company_id = t.tenant_id and u.team_id is null
  and exists (select from ops.imported i where i.table_name = 'users' and i.id = u.id)
