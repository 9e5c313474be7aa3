set role ringfence_owner;

-- The address alone, lower-cased, also of one that is written behind a name (RFC 5322, 3.4) or as a link (RFC 6068).
create or replace function ops.bare_address(address text) returns text language sql immutable
  return lower(app.bare_address(coalesce(substring(address from '<([^<>]*)>[^<>]*$'), regexp_replace(address, '^\s*mailto:', '', 'i'))));

reset role;
