-- Deletes a run because the workflow's conditions do not hold.   $1 execution
with job as (
  delete from jobs where kind = 'workflow_run' and record_id = $1
)
delete from workflow_executions where id = $1 returning id
