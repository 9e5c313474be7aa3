-- $1 name   $2 plan   $3 domain   $4 time zone   $5 currency
select * from app.create_company($1, $2, $3, $4, $5)
