-- $1 email   $2 hash of the code   $3 hash of the new password
select app.finish_password_reset($1, $2, $3)
