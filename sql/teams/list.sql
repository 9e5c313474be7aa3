select t.id, t.name, t.description, t.team_lead_id,
  (select count(*) from users u where u.team_id = t.id and not u.is_deleted)::int as member_count, t.created_at, t.updated_at
from teams t
where not t.is_deleted
order by t.name, t.id
