-- Older programs and other databases kept addresses with blanks around them, which are none of the address.
set role ringfence_owner;

create function ops.bare_address(address text) returns text language sql immutable
  return lower(btrim(address, E' \t\n\f\r\u00a0'));
grant execute on function ops.bare_address(text) to ringfence_dba;

reset role;
