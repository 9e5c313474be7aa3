-- $1 user id   $2 the hash that was verified   $3 new hash, or null
select app.logged_in($1, $2, $3)
