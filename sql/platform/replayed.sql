-- How far a standby has replayed the log; null when it is none.
select case when pg_is_in_recovery() then pg_last_wal_replay_lsn() end
