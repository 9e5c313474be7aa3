-- Gives historical rows their company, 2000 per transaction; may be stopped, called again, and run twice at once.
-- Large tables are several times as fast between make_way.psql and restore_indexes.psql.
-- First: set role ringfence_dba.  With pauses of a tenth of a second: call app.run_backfill(1000, 0.1);
-- As a superuser, before that and before the indexes are changed: set wal_compression = 'zstd' (or 'pglz' if this
-- PostgreSQL lacks it), so that others wait less for their commits.
-- Progress: select * from app.backfill;  Rows left out for a unique key: table app.backfill_collision;
-- In another session, so that the table does not double: vacuum (index_cleanup off, truncate off) sms_messages \watch 2
-- At the end, even if no indexes were changed, restore_indexes.psql takes back the room that an import left on pages.
-- Then: vacuum (analyze) sms_messages;
call app.run_backfill();
