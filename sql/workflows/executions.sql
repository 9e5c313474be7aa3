-- A run that has not ended has no duration; greatest() passes over a null.   $1 workflow id   $2 limit   $3 skip
select id, status, started_at, completed_at,
  case when completed_at is not null then least(greatest(extract(epoch from completed_at - started_at), -2147483648), 2147483647)::int end as duration_seconds,
  success_count, failure_count, error_message, trigger_data, created_at
from workflow_executions
where workflow_id = $1
-- cursor: and (created_at, id) < ($4, $5)
order by created_at desc, id desc
limit $2 offset $3
