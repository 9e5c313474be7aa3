-- $1 tenant   $2 contact
select a.id from activities a where a.tenant_id = $1 and a.contact_id = $2
