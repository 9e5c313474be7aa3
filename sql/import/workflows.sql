-- Nobody has seen what a workflow does here: one with conditions, actions or a schedule is paused until somebody
-- has checked it.
with changed as (
  update old_workflows s set status = 'paused'
  where s.status = 'active' and (s.trigger = 'scheduled' or s.conditions <> '[]' or s.actions <> '[]')
  returning s.id
)
insert into old_report (table_name, id, action, reason)
select 'workflows', id, 'changed', 'was active: paused until somebody has looked at its trigger, conditions and actions' from changed
