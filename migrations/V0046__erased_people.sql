-- What erasure compares and remembers, and what brings a company back beside another one that knows the same people.
set role ringfence_owner;

-- Somebody who is only there for the rows of companies that they have left: as an archive brings them, or as erasure leaves them.
create function ops.is_nameless(u users) returns boolean language sql stable
  return u.company_id is null and u.is_deleted
    and u.email in ('moved-' || u.id || '@deleted.invalid', 'deleted-' || u.id || '@deleted.invalid');

grant execute on function ops.is_nameless(users) to ringfence_dba;

reset role;

-- An archive says itself who the members are and in which teams, and what its constraints are about comes in before they are asked.
drop trigger a_members on users;
create trigger a_members after insert or update of company_id on users for each row
  when (current_setting('app.restoring', true) is distinct from 'on') execute function app.keep_members();
drop trigger leave_team on users;
create trigger leave_team before update of company_id on users for each row
  when (current_setting('app.restoring', true) is distinct from 'on') execute function app.leave_team();
