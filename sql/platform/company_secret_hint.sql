-- The last four characters of a secret of the entered company, or no row.   $1 name
select hint from app.company_secret_hint($1) as hint where hint is not null
