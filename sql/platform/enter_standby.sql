-- platform/enter for a standby, in a transaction that is read-only wherever it runs. There is no context if the standby
-- has not replayed the WAL up to the caller's position, if it is no standby any more, or if the caller's company is
-- suspended there, which may be out of date.
-- $1 user id   $2 version of the token   $3 whether a company is needed   $4 how its statement is planned
-- $5 the request   $6 a place in the log
select c.user_id, c.company_id, c.role, c.blocked as suspended, s.is_behind or c.blocked as is_behind, set_config('transaction_read_only', 'on', true),
  set_config('app.company_id', case when c.blocked or s.is_behind then '' else coalesce(c.company_id::text, '') end, true),
  set_config('app.user_id', case when c.blocked or s.is_behind or ($3 and c.company_id is null) then '' else c.user_id::text end, true),
  set_config('plan_cache_mode', $4, true), set_config('app.request_id', $5, true)
from app.caller c,
  (select not pg_is_in_recovery() or coalesce(pg_last_wal_replay_lsn() < $6::pg_lsn, true) offset 0) as s (is_behind)
where c.user_id = $1 and c.token_version = $2
