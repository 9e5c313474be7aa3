-- The place of an activity in its list: those without a due date come last. No comparison of rows is true of a null, and
-- under row-level security `coalesce` is no index condition, so the place is stored; behind it a page is one range of the index.
set role ringfence_owner;

drop index activities_feed;
drop index activities_contact;
drop index activities_deal;
alter table activities add column due_order timestamptz not null generated always as (coalesce(due_date, 'infinity')) stored;
create index activities_feed on activities (tenant_id, due_order, created_at, id) include (company_id, owner_id);
create index activities_contact on activities (tenant_id, contact_id, due_order, created_at, id);
create index activities_deal on activities (tenant_id, deal_id, due_order, created_at, id);

reset role;
