-- In the old system every admin of a company could grant `super_admin`, so the import grants it to nobody.
with changed as (
  update old_users s set user_role = case when s.company_id is null then 'Regular User' else 'company_admin' end
  where s.user_role = 'super_admin'
  returning s.id, s.user_role
)
insert into old_report (table_name, id, action, reason)
select 'users', id, 'changed', format('was super_admin: %s now; if that is right, run ringfence super-admin with the address', user_role) from changed
