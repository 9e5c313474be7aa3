-- Once all logins are there: whose the grants are on this server, and what each operator's rows get by default.
do $$
declare
  login name;
begin
  update app.operator_grant g set role_oid = r.oid from pg_roles r where r.rolname = g.db_role;
  -- Of sessions elsewhere.
  delete from app.operator_choice;
  for login in select distinct g.db_role from app.operator_grant g loop
    perform app.settle_operator(login);
  end loop;
end $$
