-- $1 company   $2 e-mail   $3 first name   $4 last name   $5 role   $6 title   $7 hash of the password
with person as (
  insert into users (company_id, email, first_name, last_name, user_role, title) values ($1, $2, $3, $4, $5, $6) returning id
)
insert into app.credentials (user_id, password_hash) select id, $7 from person
