-- A pipeline had no owner: it is its company's first admin's, or else its first user's. Without company it is the user's whose
-- deals are in it, if they are one user's.
update old_pipelines s set owner_id = o.id,
  problem = case when s.company_id is null and o.id is null then 'it is no company''s, and its deals are of several users or none: they go to other pipelines' end
from old_pipelines x left join lateral (
  select u.id from users u where u.company_id = x.company_id or (x.company_id is null and u.id = x.owner_id)
  order by u.is_deleted, u.user_role = 'company_admin' desc, u.created_at, u.id limit 1
) o on true
where x.n = s.n
