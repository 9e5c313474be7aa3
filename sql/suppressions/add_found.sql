-- An address that must not be written to any more, as a provider or its owner says.   $1 channel   $2 address   $3 reason
insert into suppressions (channel, address, reason) values ($1, $2, $3)
on conflict (tenant_id, channel, address) where company_id is not null do nothing
returning id
