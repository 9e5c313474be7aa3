-- Colleagues, including those who wait for approval, in order of creation. Avatars beyond the first 32 MiB in total are
-- null; their lengths are known without reading them.
select id, email, first_name, last_name, user_role as role, user_role, company_id, phone, title, department, location, bio,
  case when sum(octet_length(avatar)) over (order by created_at, id rows unbounded preceding) <= 32 << 20 then avatar end as avatar,
  team_id, is_active, created_at, status
from users where not is_deleted
order by created_at, id
