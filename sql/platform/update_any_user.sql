-- $1 user id   $2 the columns to change
select u.id, u.email, u.first_name, u.last_name, u.user_role as role, u.user_role, u.company_id, u.phone, u.title,
  u.department, u.location, u.bio, u.avatar, u.team_id, u.is_active, u.created_at, u.status
from app.update_any_user($1, $2) u
