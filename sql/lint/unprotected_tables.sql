-- Tables whose rows are not isolated. The list of those that need no policies only shrinks.
select format('table %s has no forced row-level security or no policy', c.oid::regclass) as finding,
  format('end its migration with: select app.protect(%L, ''user_id'');', c.oid::regclass) as remedy
from pg_class c
where c.relkind in ('r', 'p') and c.relnamespace in ('public'::regnamespace, 'app'::regnamespace)
  and c.oid::regclass::text not in ('app.caller', 'app.rate_limits', 'refinery_schema_history')
  and not (c.relrowsecurity and c.relforcerowsecurity and exists (select from pg_policy p where p.polrelid = c.oid))
order by 1
