-- $1 workflow id   $2 execution id
select id, status, started_at, completed_at, least(greatest(extract(epoch from completed_at - started_at), -2147483648), 2147483647)::int as duration_seconds, success_count, failure_count,
  error_message, trigger_data
from workflow_executions
where workflow_id = $1 and id = $2
