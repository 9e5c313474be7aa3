-- Colleagues, also those who wait for approval, in the order in which they came.
select id, email, first_name, last_name, user_role as role, user_role, company_id, phone, title, department, location, bio,
  avatar, team_id, is_active, created_at, status
from users where not is_deleted
order by created_at, id
