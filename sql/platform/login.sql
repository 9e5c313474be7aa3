-- $1 email, lower-cased
select (l.account).*, l.password_hash from app.login($1) l
