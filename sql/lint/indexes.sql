-- The policy's condition on tenant_id must be the first of every index, or a list walks over all companies' rows.
select format('index %s of %s does not lead with tenant_id', i.indexrelid::regclass, i.indrelid::regclass) as finding,
  'lead it with tenant_id' as remedy
from pg_index i
join pg_policy p on p.polrelid = i.indrelid and p.polname = 'tenant'
join pg_attribute t on t.attrelid = i.indrelid and t.attname = 'tenant_id'
where not i.indisunique and i.indkey[0] <> t.attnum
  -- The queue and the owners of a number, which app.claim_jobs and app.companies_of_number ask across companies.
  and i.indexrelid::regclass::text not in ('jobs_due', 'twilio_settings_number')
order by 1
