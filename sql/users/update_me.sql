-- $1 the columns to change
update users u set updated_at = now(), (email, first_name, last_name, phone, title, department, location, bio) = (
  select n.email, n.first_name, n.last_name, n.phone, n.title, n.department, n.location, n.bio from jsonb_populate_record(u, $1) n)
where u.id = app.user_id() and not u.is_deleted
returning id, email, first_name, last_name, user_role as role, user_role, company_id, phone, title, department, location, bio,
  avatar, team_id, is_active, created_at, status
