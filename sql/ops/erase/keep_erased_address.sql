-- $1 company, or null   $2 address
insert into ops.erased_addresses (address_hash) values (ops.address_hash($1, $2)) on conflict do nothing
