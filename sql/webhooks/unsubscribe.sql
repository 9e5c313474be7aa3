-- Suppresses mail to a recipient from now on; may be repeated.   $1 recipient of a campaign
with recipient as (
  select r.email, r.user_id from campaign_recipients r where r.id = $1
), added as (
  insert into suppressions (channel, address, reason, user_id) select 'email', r.email, 'unsubscribe', r.user_id from recipient r
  on conflict (tenant_id, channel, address) where company_id is not null do nothing
)
select r.email, (select c.name from companies c) as company from recipient r
