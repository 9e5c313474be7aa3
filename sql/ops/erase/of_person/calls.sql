-- $1 tenant   $2 contact   $3 number, in E.164
select c.id from calls c
where c.tenant_id = $1 and (c.contact_id = $2 or c.contact_id is null and $3 in (app.e164(c.from_address), app.e164(c.to_address)))
