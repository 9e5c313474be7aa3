-- $1 company id   $2 the columns to change
select * from app.update_any_company($1, $2)
