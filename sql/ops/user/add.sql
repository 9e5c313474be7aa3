-- $1 email   $2 password hash   $3 first name   $4 last name
select id from app.add_user($1, $2, $3, $4, 'company_user', null, 'active')
