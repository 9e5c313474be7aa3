-- Gives historical rows their company, 2000 in a transaction; may be stopped at any time and called again, also twice at once.
-- First: set role ringfence_dba.  With pauses of a tenth of a second: call app.run_backfill(1000, 0.1);
-- How far it is: select * from app.backfill;  What stayed for a unique key: table app.backfill_collision;
-- Every few hundred thousand rows, elsewhere: vacuum (analyze) sms_messages;
call app.run_backfill();
