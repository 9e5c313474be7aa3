-- A pipeline had no owner: it is its company's first admin's, or else its first user's.
update old_pipelines s set owner_id = (
  select u.id from users u where u.company_id = s.company_id
  order by u.is_deleted, u.user_role = 'company_admin' desc, u.created_at, u.id limit 1)
