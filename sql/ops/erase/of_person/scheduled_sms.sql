-- $1 tenant   $2 contact   $3 number, in E.164
select s.id from scheduled_sms s where s.tenant_id = $1 and (s.contact_id = $2 or s.contact_id is null and app.e164(s.to_address) = $3)
