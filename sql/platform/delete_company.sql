-- $1 company id
select app.delete_company($1)
