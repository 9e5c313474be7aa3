-- $1 email, lower-cased
select app.email_taken($1)
