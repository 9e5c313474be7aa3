-- A notification belongs to its user. If the user is in another company today, it becomes historical, so that they
-- still see it. If they left its company only here, it stays with that company, as earlier ones do.
with changed as (
  update old_notifications s set company_id = null from users u
  where u.id = s.user_id and s.company_id is not null and u.company_id is distinct from s.company_id
    and not exists (select from old_user_companies o join members m on m.user_id = o.user_id and m.tenant_id = o.company_id
      where o.user_id = u.id and o.company_id = s.company_id)
  returning s.id
)
insert into old_report (table_name, id, action, reason)
select 'notifications', id, 'detached', 'its company is not the one of its user' from changed
