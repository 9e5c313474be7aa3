-- Unknown words become the cautious value, and a closed company is suspended.
with odd as (
  select s.id,
    case when s.plan in ('free', 'pro', 'enterprise') then s.plan else 'free' end as plan,
    case when s.was_closed then 'suspended' when s.status in ('active', 'suspended', 'pending') then s.status else 'suspended' end as status,
    case when s.subscription_status in ('trial', 'active', 'expired', 'suspended', 'cancelled') then s.subscription_status else 'suspended' end
      as subscription_status
  from old_companies s
), changed as (
  update old_companies s set plan = odd.plan, status = odd.status, subscription_status = odd.subscription_status
  from odd where odd.id = s.id and (s.plan, s.status, s.subscription_status) is distinct from (odd.plan, odd.status, odd.subscription_status)
  returning s.id
)
insert into old_report (table_name, id, action, reason)
select 'companies', id, 'changed', 'plan, status or subscription status is none of today''s, or the company was closed: free, suspended' from changed
