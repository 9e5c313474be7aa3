-- Opens a caller's transaction: sets its context and returns the caller. No row: the user or token is not valid, or the
-- user is no longer in the company that the request began in. A caller whose company is suspended, or who has none
-- where one is needed, is returned but gets no context.
-- $1 user id   $2 version of the token   $3 whether a company is needed   $4 how its statement is planned
-- $5 the request   $6 the company that the request began in, or null
select c.user_id, c.company_id, c.role, c.blocked as suspended,
  set_config('app.company_id', case when c.blocked then '' else coalesce(c.company_id::text, '') end, true),
  set_config('app.user_id', case when c.blocked or ($3 and c.company_id is null) then '' else c.user_id::text end, true),
  set_config('plan_cache_mode', $4, true), set_config('app.request_id', $5, true)
from app.caller c
where c.user_id = $1 and c.token_version = $2 and c.company_id is not distinct from coalesce($6, c.company_id)
