select id, email, first_name, last_name, user_role as role, company_id, team_id, is_active
from users where id = app.user_id() and not is_deleted
