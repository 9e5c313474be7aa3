select id, email, first_name, last_name, user_role, status, created_at
from users where not is_deleted
order by created_at, id
