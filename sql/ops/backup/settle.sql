-- What a dump does not have: the rights on the database itself, and what each operator's rows get by default.
do $$
declare
  g record;
begin
  execute format('revoke temporary on database %I from public', current_database());
  execute format('grant create on database %I to ringfence_owner', current_database());
  for g in select distinct db_role from app.operator_grant where db_role in (select rolname from pg_roles) loop
    perform app.settle_operator(g.db_role);
  end loop;
end $$
