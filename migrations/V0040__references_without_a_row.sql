-- Messages and activities that name no contact, conversation, thread or deal have no entry in the index of it: an entry costs
-- time at each change of such a row, and a backfill of many rows most of all.
set role ringfence_owner;

create index if not exists sms_messages_of_contact on sms_messages (tenant_id, contact_id) where contact_id is not null;
create index if not exists sms_messages_of_conversation on sms_messages (tenant_id, conversation_id, created_at desc, id desc)
  where conversation_id is not null;
create index if not exists calls_of_contact on calls (tenant_id, contact_id) where contact_id is not null;
create index if not exists emails_of_contact on emails (tenant_id, contact_id) where contact_id is not null;
create index if not exists emails_of_thread on emails (tenant_id, thread_id) where thread_id is not null;
create index if not exists activities_of_contact on activities (tenant_id, contact_id, due_order, created_at, id) where contact_id is not null;
create index if not exists activities_of_deal on activities (tenant_id, deal_id, due_order, created_at, id) where deal_id is not null;
drop index sms_messages_contact, sms_messages_conversation, calls_contact, emails_contact, emails_thread, activities_contact,
  activities_deal;

reset role;
