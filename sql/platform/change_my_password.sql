-- $1 hash of the new password
select true from app.change_my_password($1)
