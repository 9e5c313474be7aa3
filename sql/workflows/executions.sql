-- $1 workflow id   $2 limit   $3 skip
select id, status, started_at, completed_at, least(greatest(extract(epoch from completed_at - started_at), -2147483648), 2147483647)::int as duration_seconds, success_count, failure_count,
  error_message, trigger_data, created_at
from workflow_executions
where workflow_id = $1
-- cursor: and (created_at, id) < ($4, $5)
order by created_at desc, id desc
limit $2 offset $3
