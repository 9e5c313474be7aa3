-- Gives historical rows their company, 2000 in a transaction; may be stopped at any time and called again, also twice at once.
-- Large tables go several times as fast between make_way.psql and restore_indexes.psql.
-- First: set role ringfence_dba.  With pauses of a tenth of a second: call app.run_backfill(1000, 0.1);
-- As a superuser, before that and before the indexes are changed: set wal_compression = 'zstd', or 'pglz' where this PostgreSQL has
-- none, makes others wait less for their commits.
-- How far it is: select * from app.backfill;  What stayed for a unique key: table app.backfill_collision;
-- Elsewhere, so that the table does not grow to twice its size: vacuum (index_cleanup off, truncate off) sms_messages \watch 2
-- In the end, also where no indexes were changed: restore_indexes.psql takes back the room that an import left on pages. Then:
-- vacuum (analyze) sms_messages;
call app.run_backfill();
