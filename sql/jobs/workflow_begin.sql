-- $1 execution   $2 the actions that are fixed for the run
update workflow_executions set actions = $2, plan = null, at_event = null, started_at = now() where id = $1 returning id
