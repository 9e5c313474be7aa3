-- For a copy: work that was due since the copy was made, or that a worker was doing then, may have been done and is not
-- repeated. A claim puts a job off and counts an attempt; a run counts none, and is in progress or due unless a step
-- waits. A scheduled workflow goes on with its next time. Returns the numbers of texts, campaigns and runs.
-- $1 company, or null for all   $2 how they came here
with due as materialized (
  select j.id, j.kind, j.tenant_id, j.record_id from jobs j
  where j.company_id is not null and ($1::uuid is null or j.tenant_id = $1) and (j.run_at <= now() or j.attempts > 0 or j.kind = 'workflow_run'
    and not exists (select from workflow_steps s where s.tenant_id = j.tenant_id and s.execution_id = j.record_id and s.status = 'waiting'))
), text as (
  update scheduled_sms s set is_cancelled = true, updated_at = now(), error_message = $2::text || ': it may have been sent'
  from due d where d.kind = 'scheduled_sms' and s.tenant_id = d.tenant_id and s.id = d.record_id and not s.is_sent and not s.is_cancelled
  returning s.id
), campaign as (
  update campaigns c set status = 'failed', updated_at = now(), error_message = $2 || ': it may have been sent'
  where not c.is_deleted and c.company_id is not null and ($1 is null or c.tenant_id = $1) and (c.status = 'sending' or c.status = 'scheduled'
    and exists (select from due d where d.kind = 'campaign' and d.tenant_id = c.tenant_id and d.record_id = c.id))
  returning c.id
), recipient as (
  update campaign_recipients set state = 'failed', error_message = $2 || ': it may have been sent'
  where state in ('pending', 'sending') and campaign_id in (select id from campaign)
), job as (
  delete from jobs j using due d where j.id = d.id and d.kind = 'workflow_run'
), run as (
  update workflow_executions x set status = 'failed', completed_at = now(), error_message = $2 || ': it may have gone on'
  from due d where d.kind = 'workflow_run' and x.tenant_id = d.tenant_id and x.id = d.record_id and x.status = 'running' returning x.id
), step as (
  update workflow_steps set status = 'failed', completed_at = now(), error_message = $2 || ': it may have been done'
  where status in ('running', 'waiting', 'retrying') and execution_id in (select id from run)
), clock as (
  -- A cron expression determines the next time anew; an interval counts from the last run.
  update workflows w set next_run_at = null, schedule_set_at = now(), last_executed_at = case when w.schedule ? 'cron' then w.last_executed_at else now() end
  from due d where d.kind = 'workflow_schedule' and w.tenant_id = d.tenant_id and w.id = d.record_id
)
select (select count(*) from text) as texts, (select count(*) from campaign) as campaigns, (select count(*) from run) as runs
