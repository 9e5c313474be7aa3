-- The WAL position up to which a standby has replayed; null if this is no standby.
select case when pg_is_in_recovery() then pg_last_wal_replay_lsn() end
