-- The same as platform/enter on a standby, in a transaction that cannot write wherever it is. A standby that has not replayed
-- the log up to where the caller has been, or is none any more, gives no context; nor does one that knows the caller's
-- company as suspended, which may be over.
-- $1 user id   $2 version of the token   $3 whether a company is needed   $4 how its statement is planned   $5 the request
-- $6 a place in the log
select c.user_id, c.company_id, c.role, c.blocked as suspended, s.is_behind or c.blocked as is_behind, set_config('transaction_read_only', 'on', true),
  set_config('app.company_id', case when c.blocked or s.is_behind then '' else coalesce(c.company_id::text, '') end, true),
  set_config('app.user_id', case when c.blocked or s.is_behind or ($3 and c.company_id is null) then '' else c.user_id::text end, true),
  set_config('plan_cache_mode', $4, true), set_config('app.request_id', $5, true)
from app.caller c,
  (select not pg_is_in_recovery() or coalesce(pg_last_wal_replay_lsn() < $6::pg_lsn, true) offset 0) as s (is_behind)
where c.user_id = $1 and c.token_version = $2
