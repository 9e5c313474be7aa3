-- New users of teams that exist here.
-- $1, $2 the batch
update users u set team_id = t.id from old_users s join teams t on t.id = s.old_team_id
where u.id = s.id and s.n > $1 and s.n <= $2 and s.problem is null and u.company_id = t.tenant_id
