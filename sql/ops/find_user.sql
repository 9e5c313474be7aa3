-- Somebody with their company, and whether that would be without an admin if they left.
-- $1 email, lower-cased
select u.id, c.name as company, u.user_role = 'super_admin' as is_super_admin,
  u.user_role = 'company_admin' and exists (select from users o where o.company_id = u.company_id and o.id <> u.id and not o.is_deleted)
    and not exists (select from users o where o.company_id = u.company_id and o.id <> u.id and o.user_role = 'company_admin'
      and o.status = 'active' and not o.is_deleted) as is_last_admin
from users u left join companies c on c.id = u.company_id
where app.global_key(u.email) = app.global_key($1) and not u.is_deleted
