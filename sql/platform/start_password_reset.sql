-- $1 email   $2 hash of the code
select app.start_password_reset($1, $2)
