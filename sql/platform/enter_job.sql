-- Opens a transaction of a company's own work: a job or a verified webhook.
-- $1 company id   $2 the user of the row that asks for it, who may have left   $3 how its statement is planned
-- $4 whether a company that is suspended is entered too   $5 the request of a webhook
select $2::uuid as user_id, c.id as company_id, 'job' as role, c.blocked and not $4::boolean as suspended,
  set_config('app.company_id', case when c.blocked and not $4::boolean then '' else c.id::text end, true),
  set_config('app.user_id', case when c.blocked and not $4::boolean then '' else $2::text end, true),
  set_config('plan_cache_mode', $3, true), set_config('app.request_id', 'job ' || $5, true)
from app.company_state($1) c
