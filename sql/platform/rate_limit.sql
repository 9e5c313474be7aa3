-- $1 bucket   $2 attempts allowed   $3 seconds
select app.rate_limit($1, $2, make_interval(secs => $3))
