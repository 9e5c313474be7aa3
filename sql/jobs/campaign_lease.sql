-- Extends the lease of the job.   $1 job   $2 seconds
update jobs set run_at = now() + make_interval(secs => $2) where id = $1 returning id
