-- Historical rows by table and the company they will get, and about how many seconds that takes; where there is none, why.
-- Changes nothing. First: set role ringfence_dba.
-- How many would collide with a unique key: select * from app.backfill_collisions();
select p.*, case when p.problem is null then round(p.row_count / 25000.0, 2)::float8 end as seconds from app.backfill_plan() p;
