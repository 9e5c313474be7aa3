-- $1 user id
select id, email, first_name, last_name, user_role as role, user_role, company_id, phone, title, department, location, bio,
  avatar, team_id, is_active, created_at, status
from users where id = $1 and not is_deleted
