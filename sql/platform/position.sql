-- Where in its log the primary is: what was committed before lies before it.
select pg_current_wal_insert_lsn()
