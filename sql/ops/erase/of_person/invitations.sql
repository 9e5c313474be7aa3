-- $1 tenant   $2 address, lower-cased
select i.id from invitations i where i.tenant_id = $1 and i.email = $2
