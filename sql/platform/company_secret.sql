-- A sealed secret of the entered company, or no row.   $1 name
select sealed from app.company_secret($1) as sealed where sealed is not null
