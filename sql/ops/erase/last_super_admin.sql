-- Whether these users include a super admin, and no other super admin can log in.
-- $1 users   $2 a company with all of its users, or null
select coalesce(bool_or(s.is_one) and not bool_or(not s.is_one and s.status = 'active' and s.is_active), false)
from (select u.status, u.is_active, u.id = any ($1) or u.company_id is not distinct from $2 and $2 is not null as is_one
  from users u where u.user_role = 'super_admin' and not u.is_deleted) s
