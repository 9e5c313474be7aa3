-- The queue by kind: jobs waiting, jobs due and for how long, and jobs given up.
select c.name as company, j.kind, count(*) filter (where j.failed_at is null) as waiting,
  count(*) filter (where j.failed_at is null and j.run_at <= now()) as due,
  now() - min(j.run_at) filter (where j.failed_at is null and j.run_at <= now()) as late, count(j.failed_at) as given_up
from jobs j left join companies c on c.id = j.tenant_id
group by c.name, j.kind order by due desc, waiting desc;
