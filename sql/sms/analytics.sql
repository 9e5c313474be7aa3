-- Figures of the last days; texts received without a company are not the company's.   $1 days
with counted as (
  select count(*) filter (where direction = 'outbound') as sent, count(*) filter (where direction = 'inbound') as received,
    count(*) filter (where direction = 'outbound' and status in ('failed', 'undelivered')) as failed,
    count(*) filter (where direction = 'outbound' and status in ('delivered', 'read')) as delivered
  from sms_messages where company_id is not null and created_at >= now() - make_interval(days => $1)
)
select sent as total_sent, received as total_received, failed as total_failed, delivered as total_delivered,
  case when sent = 0 then 0 else round(delivered * 100.0 / sent, 2) end::float8 as success_rate,
  case when sent = 0 then 0 else round(received * 100.0 / sent, 2) end::float8 as response_rate,
  null::float8 as avg_response_time_minutes
from counted
