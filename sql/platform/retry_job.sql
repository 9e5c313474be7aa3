-- $1 job id   $2 the error
select app.retry_job($1, $2)
