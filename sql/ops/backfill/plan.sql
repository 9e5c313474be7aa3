-- Historical rows by table and the company they will get; where there is none, why. Changes nothing.
-- First: set role ringfence_dba.  How many would collide with a unique key: select * from app.backfill_collisions();
select * from app.backfill_plan();
