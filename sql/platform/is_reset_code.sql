-- $1 email   $2 hash of the code
select app.is_reset_code($1, $2)
