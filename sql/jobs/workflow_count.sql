-- Counts a run; no row if the workflow has reached its maximum.   $1 workflow
update workflows set execution_count = execution_count + 1, last_executed_at = now()
where id = $1 and (max_executions is null or execution_count < max_executions)
returning id
