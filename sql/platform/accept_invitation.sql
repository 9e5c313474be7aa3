-- $1 hash of the token   $2 hash of the password
select * from app.accept_invitation($1, $2)
