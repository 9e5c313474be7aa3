-- $1 company id
select u.id, u.email, u.first_name, u.last_name, u.user_role, u.status, u.created_at from app.users_of_company($1) u
