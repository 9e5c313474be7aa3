-- $1 user id   $2 company id
select app.assign_company($1, $2)
