-- The caller's own company, if this is its id.
-- $1 company id
select id, name, plan, status, domain, logo_url, timezone, currency, email, phone, address, city, state, zip, created_at, user_count,
  subscription_status, trial_ends_at, days_remaining, settings
from app.company_card where id = $1
