-- Old pipelines had no owner: the owner is the company's first admin, or else its first user. A pipeline without
-- company belongs to the user who has all its deals.
update old_pipelines s set owner_id = o.id,
  problem = case when s.company_id is null and o.id is null then 'it is no company''s, and its deals are of several users or none: they go to other pipelines' end
from old_pipelines x left join lateral (
  select u.id from users u where u.company_id = x.company_id or (x.company_id is null and u.id = x.owner_id)
  order by u.is_deleted, u.user_role = 'company_admin' desc, u.created_at, u.id limit 1
) o on true
where x.n = s.n
