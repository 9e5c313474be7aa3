-- Suppresses an address that its provider or owner reports; the name that some texts are from is not an address.
-- $1 channel   $2 address   $3 reason
insert into suppressions (channel, address, reason) select $1, $2, $3 where app.suppressed_form($1, $2) <> ''
on conflict (tenant_id, channel, address) where company_id is not null do nothing
returning id
