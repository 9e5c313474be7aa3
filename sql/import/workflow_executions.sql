-- A run in progress has failed.
with changed as (
  update old_workflow_executions s set status = 'failed', error_message = coalesce(s.error_message, 'It was under way at the import')
  where s.status = 'running'
  returning s.id
)
insert into old_report (table_name, id, action, reason)
select 'workflow_executions', id, 'changed', 'was running: failed now' from changed
