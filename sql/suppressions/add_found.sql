-- An address that must not be written to any more, as a provider or its owner says; a name that a text is from is none.
-- $1 channel   $2 address   $3 reason
insert into suppressions (channel, address, reason) select $1, $2, $3 where app.suppressed_form($1, $2) <> ''
on conflict (tenant_id, channel, address) where company_id is not null do nothing
returning id
