-- $1 hash of the new password   $2 the hash that was verified
select app.change_my_password($1, $2)
