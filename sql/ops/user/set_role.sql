-- Sets the role if one is given, and approves a user who waits for approval.
-- $1 user id   $2 role, or null
update users set user_role = coalesce($2, user_role), status = case status when 'pending' then 'active' else status end, updated_at = now()
where id = $1
returning user_role, status = 'active' and is_active as may_enter
