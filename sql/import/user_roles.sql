-- In the old system every admin of a company could hand out `super_admin`, so nobody has it by an import.
with changed as (
  update old_users s set user_role = case when s.company_id is null then 'Regular User' else 'company_admin' end
  where s.user_role = 'super_admin'
  returning s.id, s.user_role
)
insert into old_report (table_name, id, action, reason)
select 'users', id, 'changed', format('was super_admin: %s now; if that is right, run ringfence super-admin with the address', user_role) from changed
