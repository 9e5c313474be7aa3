-- Once all logins exist: binds the grants to this server's roles, and sets the defaults of each operator's rows.
do $$
declare
  login name;
begin
  update app.operator_grant g set role_oid = r.oid from pg_roles r where r.rolname = g.db_role;
  -- Choices belong to sessions elsewhere.
  delete from app.operator_choice;
  for login in select distinct g.db_role from app.operator_grant g loop
    perform app.settle_operator(login);
  end loop;
end $$
