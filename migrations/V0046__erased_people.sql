-- What erasure compares and remembers, and what brings a company back beside another one that knows the same people.
set role ringfence_owner;

-- The addresses of people who were erased, each with the company where, or without one for all: as hashes, since an import
-- only asks whether an address is one of them.
create table ops.erased_addresses (
  address_hash bytea primary key
);
alter table ops.erased_addresses enable row level security, force row level security;
grant select, insert on ops.erased_addresses to ringfence_dba;
revoke update, delete, truncate, references, trigger on ops.erased_addresses from ringfence_dba;
create trigger append_only before update or delete or truncate on ops.erased_addresses for each statement execute function ops.refuse();

create function ops.address_hash(company uuid, address text) returns bytea language sql stable
  return sha256(coalesce(uuid_send(company), '') || convert_to(lower(address), 'UTF8'));
create function ops.was_erased(company uuid, address text) returns boolean language sql stable
  return exists (select from ops.erased_addresses e where e.address_hash in (ops.address_hash(null, address), ops.address_hash(company, address)));

-- Whether an address, which is in lower case, stands anywhere in a document, and not as a part of a longer one.
create function ops.names(document jsonb, address text) returns boolean language sql stable
  return address like '%_@_%' and strpos(lower(document::text), address) > 0
    -- An escaped line break must not look like a letter of the address.
    and regexp_replace(lower(document::text), '\\[bfnrt]', ' ', 'g')
      ~ ('(?<![[:alnum:]@._%+-])' || regexp_replace(address, '[^[:alnum:]]', '\\\&', 'g') || '(?![[:alnum:]@_%+-]|\.[[:alnum:]])');

-- A list of mailboxes without those of an address; null when none is left.
create function ops.without_address(list text, address text) returns text language sql stable
  return case when address in (select m.address from app.mailboxes(list) m)
    then (select btrim(string_agg(m.mailbox, ',')) from app.mailboxes(list) m where m.address <> $2) else list end;

-- Somebody who is only there for the rows of companies that they have left: as an archive brings them, or as erasure leaves them.
create function ops.is_nameless(u users) returns boolean language sql stable
  return u.company_id is null and u.is_deleted
    and u.email in ('moved-' || u.id || '@deleted.invalid', 'deleted-' || u.id || '@deleted.invalid');

grant execute on function ops.address_hash(uuid, text), ops.was_erased(uuid, text), ops.names(jsonb, text), ops.without_address(text, text),
  ops.is_nameless(users) to ringfence_dba;

reset role;

-- An archive says itself who the members are and in which teams, and what its constraints are about comes in before they are asked.
drop trigger a_members on users;
create trigger a_members after insert or update of company_id on users for each row
  when (current_setting('app.restoring', true) is distinct from 'on') execute function app.keep_members();
drop trigger leave_team on users;
create trigger leave_team before update of company_id on users for each row
  when (current_setting('app.restoring', true) is distinct from 'on') execute function app.leave_team();
