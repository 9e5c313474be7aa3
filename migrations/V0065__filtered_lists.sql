-- A page of a filtered list reads its own rows and not those that the filter leaves out, however rare what is asked for is.
-- None has company_id in it, so that a backfill in place goes on without writing them.
set role ringfence_owner;

create index if not exists contacts_of_type on contacts (tenant_id, "type", created_at, id) where not is_deleted and "type" is not null;
create index if not exists contacts_of_status on contacts (tenant_id, status, created_at, id) where not is_deleted;
create index if not exists contacts_of_owner on contacts (tenant_id, owner_id, created_at, id) where not is_deleted;

create index if not exists activities_of_type on activities (tenant_id, "type", due_order, created_at, id);
create index if not exists activities_of_status on activities (tenant_id, status, due_order, created_at, id);
create index if not exists activities_open on activities (tenant_id, due_order, created_at, id) where status <> 'completed';

create index if not exists sms_messages_of_direction on sms_messages (tenant_id, direction, created_at desc, id desc);
create index if not exists calls_of_direction on calls (tenant_id, direction, created_at desc, id desc);
create index if not exists emails_of_direction on emails (tenant_id, direction, created_at desc, id desc)
  where status <> 'draft' and not is_deleted;

create index if not exists workflows_of_status on workflows (tenant_id, status, created_at desc, id desc) where not is_deleted;
-- Those that are the rule are found by the index of all.
create index if not exists conversations_not_active on conversations (tenant_id, conversation_status, last_message_at desc, id desc)
  where not is_deleted and conversation_status <> 'active';
create index if not exists campaigns_not_sent on campaigns (tenant_id, status, created_at desc, id desc)
  where not is_deleted and status <> 'sent';

create index if not exists audit_log_of_table on audit_log (tenant_id, table_name, created_at desc, id desc);
create index if not exists audit_log_of_user on audit_log (tenant_id, user_id, created_at desc, id desc) where user_id is not null;

reset role;
