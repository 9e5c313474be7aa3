-- $1 the account that the provider's call names   $2 the provider's id of a call
select company_id, user_id from app.companies_of_call($1, $2)
