-- Imported once, so that a secret deleted here does not come back; an existing one was entered here, and stays.
-- $1 twilio settings   $2 company   $3 name   $4 sealed   $5 last four characters
with first as (
  insert into ops.imported (table_name, id)
  select 'company_secrets.' || $3::text, i.id from ops.imported i where i.table_name = 'twilio_settings' and i.id = $1
  on conflict do nothing
  returning id
)
insert into app.company_secrets (company_id, name, sealed, last_four)
select t.tenant_id, $3, $4, $5 from twilio_settings t join first f on f.id = t.id
where t.tenant_id = $2
on conflict do nothing
