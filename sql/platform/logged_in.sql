-- $1 user id   $2 the hash by which it was   $3 new hash, or null
select app.logged_in($1, $2, $3)
