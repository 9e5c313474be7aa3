-- $1 a phone number in E.164   $2 the account that the provider's call names
select company_id, user_id from app.companies_of_number($1, $2)
