-- One active workflow and one inactive.
-- $1 company
insert into workflows (tenant_id, company_id, owner_id, name, description, trigger, status, actions, schedule)
select $1, $1, u.id, w.name, w.description, w.trigger, w.status, w.actions::jsonb, w.schedule::jsonb
from (select id from users where company_id = $1 order by created_at, id limit 1) u
cross join (values
  ('Greet new contacts', 'A call within two days, so that nobody waits.', 'contact_created', 'active',
    '[{"type": "create_task", "config": {"type": "call", "subject": "Call {{ contact.name }}", "due_in_hours": 48, "priority": 1}},
      {"type": "send_notification", "config": {"title": "New contact: {{ contact.name }}", "message": "{{ contact.email }}"}}]', null),
  ('Weekly look at the pipeline', 'On Monday morning.', 'scheduled', 'inactive',
    '[{"type": "create_task", "config": {"subject": "Go through the open deals", "due_in_hours": 8}}]', '{"cron": "0 9 * * MON"}')
) as w (name, description, trigger, status, actions, schedule)
