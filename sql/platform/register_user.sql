-- $1 email   $2 password hash   $3 first name   $4 last name   $5 role   $6 company id, or null
select * from app.register_user($1, $2, $3, $4, $5, $6)
