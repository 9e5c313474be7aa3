-- $1 tenant   $2 address, lower-cased
select r.id from campaign_recipients r where r.tenant_id = $1 and ops.bare_address(r.email) = $2
