-- The companies that would be left with users but no admin if these users were gone.
-- $1 users
select c.name from companies c
where exists (select from users u where u.company_id = c.id and u.id = any ($1) and u.user_role in ('company_admin', 'super_admin') and not u.is_deleted)
  and exists (select from users o where o.company_id = c.id and o.id <> all ($1) and not o.is_deleted)
  and not exists (select from users o where o.company_id = c.id and o.id <> all ($1) and o.user_role = 'company_admin'
    and o.status = 'active' and not o.is_deleted)
order by 1
