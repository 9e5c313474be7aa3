-- $1 user id
select app.delete_any_user($1)
