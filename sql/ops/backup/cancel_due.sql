-- In a copy: what was due since the backup may have left already, and does not leave again. Of a workflow that runs by the clock, the
-- next time counts. How many texts, campaigns and runs that were.
with text as (
  update scheduled_sms set is_cancelled = true, updated_at = now(), error_message = 'Restored from a backup: it may have been sent'
  where not is_sent and not is_cancelled and scheduled_at <= now() returning id
), campaign as (
  update campaigns set status = 'failed', updated_at = now(), error_message = 'Restored from a backup: it may have been sent'
  where not is_deleted and (status = 'sending' or status = 'scheduled' and scheduled_at <= now()) returning id
), recipient as (
  update campaign_recipients set state = 'failed', error_message = 'Restored from a backup: it may have been sent'
  where state in ('pending', 'sending') and campaign_id in (select id from campaign)
), job as (
  delete from jobs where kind = 'workflow_run' and run_at <= now() returning tenant_id, record_id
), run as (
  update workflow_executions x set status = 'failed', completed_at = now(), error_message = 'Restored from a backup: it may have gone on'
  from job j where x.tenant_id = j.tenant_id and x.id = j.record_id and x.status = 'running' returning x.id
), step as (
  update workflow_steps set status = 'failed', completed_at = now(), error_message = 'Restored from a backup: it may have been done'
  where status in ('running', 'waiting', 'retrying') and execution_id in (select id from run)
), clock as (
  update workflows w set next_run_at = null, last_executed_at = now()
  from jobs j where j.kind = 'workflow_schedule' and j.run_at <= now() and w.tenant_id = j.tenant_id and w.id = j.record_id
)
select (select count(*) from text) as texts, (select count(*) from campaign) as campaigns, (select count(*) from run) as runs
