-- $1 user id   $2 new hash, or null
select app.logged_in($1, $2)
