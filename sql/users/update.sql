-- An admin's change of a colleague, which also approves a user who waits.
-- $1 user id   $2 the columns to change
update users u set updated_at = now(), status = case u.status when 'pending' then 'active' else u.status end,
  (first_name, last_name, email, user_role) = (
    select n.first_name, n.last_name, n.email, n.user_role from jsonb_populate_record(u, $2) n)
where u.id = $1 and not u.is_deleted
returning id, email, first_name, last_name, user_role as role, user_role, company_id, phone, title, department, location, bio,
  avatar, team_id, is_active, created_at, status
