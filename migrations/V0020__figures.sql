-- What the other reports read (contract: analytics): indexes by the time that a period means, with what is counted.
set role ringfence_owner;

-- Notes and deadlines are no work that is counted.
create index activities_made on activities (tenant_id, created_at) include (company_id, owner_id, type, status, due_date)
  where type in ('call', 'email', 'meeting', 'task');
drop index deals_feed;
create index deals_feed on deals (tenant_id, created_at, id) include (company_id, owner_id, pipeline_id, status, value) where not is_deleted;
create index deals_of_contact on deals (tenant_id, contact_id) include (company_id, owner_id, created_at, status)
  where not is_deleted and contact_id is not null;
create index contacts_figures on contacts (tenant_id, id) include (company_id, owner_id, created_at, status) where not is_deleted;
create index deals_won on deals (tenant_id, actual_close_date) include (company_id, owner_id, value) where status = 'won' and not is_deleted;
create index calls_made on calls (tenant_id, created_at) include (company_id, user_id, status, duration);
create index calls_recorded on calls (tenant_id, created_at) include (company_id, user_id) where recording_url is not null;
create index emails_sent on emails (tenant_id, sent_at) include (company_id, user_id, status)
  where direction = 'outbound' and not is_deleted and status in ('sent', 'delivered', 'opened', 'clicked', 'bounced');

-- A call that nobody took.
create function app.call_is_missed(status text) returns boolean language sql immutable parallel safe
  return status in ('no-answer', 'busy', 'failed', 'canceled');
grant execute on function app.call_is_missed(text) to ringfence_api;

reset role;
