-- $1 name   $2 email   $3 password hash   $4 first name   $5 last name   $6 phone
select r.company_id as new_company_id, r.trial_ends_at, (r.admin).* from app.register_company($1, $2, $3, $4, $5, $6) r
