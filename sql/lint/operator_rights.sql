-- Rights of operators with which they would start or send something in a member's name, or let somebody in.
with operator as (
  select r.oid, r.rolname from pg_roles r
  where not r.rolsuper and (pg_has_role(r.oid, 'ringfence_operator', 'member') or pg_has_role(r.oid, 'ringfence_operator_limited', 'member'))
)
select format('%s has %s on %s', r.rolname, right_name, t.name) as finding, 'revoke it: see app.open_to_operators' as remedy
from operator r, unnest(array['insert', 'update']) as right_name, unnest(array['invitations', 'mail_hooks', 'workflows', 'workflow_events',
  'workflow_executions', 'workflow_steps', 'scheduled_sms', 'campaigns', 'campaign_recipients']) as t (name)
where has_any_column_privilege(r.oid, 'public.' || t.name, right_name)
order by 1
