-- The primary's WAL position; everything committed so far lies before it.
select pg_current_wal_insert_lsn()
