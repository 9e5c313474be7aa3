-- A notification is its user's, whose company is another one today: they go on seeing it, as before they had one. Of who has
-- left its company only here it stays with the company, as those do that came before.
with changed as (
  update old_notifications s set company_id = null from users u
  where u.id = s.user_id and s.company_id is not null and u.company_id is distinct from s.company_id
    and not exists (select from old_user_companies o join members m on m.user_id = o.user_id and m.tenant_id = o.company_id
      where o.user_id = u.id and o.company_id = s.company_id)
  returning s.id
)
insert into old_report (table_name, id, action, reason)
select 'notifications', id, 'detached', 'its company is not the one of its user' from changed
