-- Who is in which team, also of the users who came over before.
insert into old_user_teams (user_id, team_id) select s.id, s.old_team_id from old_users s where s.old_team_id is not null
