-- $1 workflow id   $2 execution id
select id, status, started_at, completed_at, extract(epoch from completed_at - started_at)::int as duration_seconds, success_count, failure_count,
  error_message, trigger_data
from workflow_executions
where workflow_id = $1 and id = $2
