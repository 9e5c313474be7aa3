-- $1 company id
select * from app.any_company($1)
