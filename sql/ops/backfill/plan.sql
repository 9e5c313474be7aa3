-- Historical rows by table and the company they will get, with an estimate in seconds; rows that get none, with the
-- reason. Changes nothing. First: set role ringfence_dba.
-- How many would violate a unique key: select * from app.backfill_collisions();
select p.*, c.id as company_id, case when p.problem is null then round(p.row_count / 25000.0, 2)::float8 end as seconds
from app.backfill_plan() p left join companies c on c.name = p.company;
