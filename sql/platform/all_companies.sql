-- $1 status, or null   $2 skip   $3 limit
select * from app.all_companies($1, $2, $3)
