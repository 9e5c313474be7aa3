-- Locks a job that is claimed and was not put back since, until the transaction ends.   $1 job
select id from jobs where id = $1 and attempts > 0 for update
