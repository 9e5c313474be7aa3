-- The policies, and the tables they are on. `ringfence doctor` compares them with what they should be.
select policyname as policy, lower(permissive) as kind, array_to_string(roles, ', ') as roles, lower(cmd) as command, qual as rows_seen,
  case when with_check is distinct from qual then with_check end as rows_written, count(*) as tables, string_agg(tablename, ', ' order by tablename) as names
from pg_policies group by 1, 2, 3, 4, 5, 6 order by 1, count(*) desc;
