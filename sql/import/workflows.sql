-- What a workflow would do here was never seen here: one with conditions or actions, or by the clock, waits until somebody has looked.
with changed as (
  update old_workflows s set status = 'paused'
  where s.status = 'active' and (s.trigger = 'scheduled' or s.conditions <> '[]' or s.actions <> '[]')
  returning s.id
)
insert into old_report (table_name, id, action, reason)
select 'workflows', id, 'changed', 'was active: paused until somebody has looked at its trigger, conditions and actions' from changed
