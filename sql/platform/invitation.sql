-- $1 hash of the token
select email, first_name, last_name, role from app.invitation($1)
