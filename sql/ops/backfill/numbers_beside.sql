-- Historical phone numbers that are switched off when they get their company, because another company uses them.
select count(*) from phone_numbers n join companies c on c.id = n.tenant_id
where n.company_id is null and n.is_active and not n.is_deleted and exists (
  select from phone_numbers o where app.global_key(o.phone_number) = app.global_key(n.phone_number) and o.is_active and not o.is_deleted
    and o.company_id is not null and o.company_id <> n.tenant_id)
