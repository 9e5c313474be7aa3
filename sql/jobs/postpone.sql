-- $1 job   $2 until when
update jobs set run_at = $2, attempts = 0 where id = $1 returning id
