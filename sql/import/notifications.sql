-- A notification is its user's, whose company is another one today: they go on seeing it, as before they had one.
with changed as (
  update old_notifications s set company_id = null from users u
  where u.id = s.user_id and s.company_id is not null and u.company_id is distinct from s.company_id
  returning s.id
)
insert into old_report (table_name, id, action, reason)
select 'notifications', id, 'detached', 'its company is not the one of its user' from changed
