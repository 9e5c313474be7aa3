-- $1 buckets
select app.return_attempts($1)
