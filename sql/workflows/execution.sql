-- A run that has not ended has no duration; greatest() passes over a null.   $1 workflow id   $2 execution id
select id, status, started_at, completed_at,
  case when completed_at is not null then least(greatest(extract(epoch from completed_at - started_at), -2147483648), 2147483647)::int end as duration_seconds,
  success_count, failure_count, error_message, trigger_data
from workflow_executions
where workflow_id = $1 and id = $2
