-- $1 a phone number in E.164
select company_id, user_id from app.companies_of_number($1)
