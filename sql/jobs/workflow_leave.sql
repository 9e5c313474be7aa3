-- The next worker that asks for jobs continues the run.   $1 execution
update jobs set run_at = now(), attempts = 0 where kind = 'workflow_run' and record_id = $1 returning id
