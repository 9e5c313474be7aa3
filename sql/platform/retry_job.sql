-- $1 job id   $2 what went wrong
select app.retry_job($1, $2)
