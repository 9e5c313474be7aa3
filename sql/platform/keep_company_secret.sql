-- $1 name   $2 sealed secret, or null   $3 its last four characters   $4 company id
select true from app.keep_company_secret($1, $2, $3, $4)
