-- The number of contacts, in all and for each employer.
with employer as (
  select company, count(*) as contacts from contacts where not is_deleted group by company
)
select coalesce(sum(contacts), 0)::bigint as total_contacts,
  count(company) filter (where company <> '') as total_companies,
  coalesce(jsonb_object_agg(company, contacts) filter (where company <> ''), '{}') as companies_breakdown
from employer
