-- Sets the role when one is given, and lets the account in.
-- $1 user id   $2 role, or null
update users set user_role = coalesce($2, user_role), status = 'active', updated_at = now() where id = $1
