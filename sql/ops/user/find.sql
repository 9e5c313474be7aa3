-- A user with their company.
-- $1 email, lower-cased
select u.id, u.company_id, c.name as company, u.user_role
from users u left join companies c on c.id = u.company_id
where app.global_key(u.email) = app.global_key($1) and not u.is_deleted
