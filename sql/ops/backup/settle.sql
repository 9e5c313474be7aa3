-- Rights on the database itself, which a dump does not contain.
do $$
begin
  execute format('revoke temporary on database %I from public', current_database());
  execute format('grant create on database %I to ringfence_owner', current_database());
end $$
