-- A secret that is here already was entered here, and stays.
-- $1 twilio settings   $2 company   $3 name   $4 sealed   $5 last four characters
insert into app.company_secrets (company_id, name, sealed, last_four)
select t.tenant_id, $3, $4, $5 from twilio_settings t
where t.id = $1 and t.tenant_id = $2 and exists (select from ops.imported i where i.table_name = 'twilio_settings' and i.id = t.id)
on conflict do nothing
