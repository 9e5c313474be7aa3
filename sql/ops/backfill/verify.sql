-- Compares what each user had in each company before with what is there now; `problem` is empty where it is the same.
-- First: set role ringfence_dba.
select * from app.backfill_verify();
