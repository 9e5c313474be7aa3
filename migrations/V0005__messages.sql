-- SMS and calls: the two feeds with historical rows (contract: sms, calls).
set role ringfence_owner;

create table sms_messages (
  id               uuid primary key default app.uuid_v7(),
  tenant_id        uuid not null,
  company_id       uuid,
  user_id          uuid not null,
  contact_id       uuid,
  direction        text not null check (direction in ('inbound', 'outbound')),
  status           text not null check (status in ('queued', 'sent', 'received', 'delivered', 'undelivered', 'failed', 'read')),
  from_address     text not null,
  to_address       text not null,
  body             text not null,
  is_auto_response boolean not null default false,
  read_at          timestamptz,
  created_at       timestamptz not null default now(),
  updated_at       timestamptz not null default now(),
  constraint sms_messages_contact_fkey foreign key (tenant_id, contact_id) references contacts (tenant_id, id)
    on delete set null (contact_id) deferrable initially immediate
);
create index sms_messages_feed on sms_messages (tenant_id, created_at desc, id desc) include (company_id, user_id);
create index sms_messages_contact on sms_messages (tenant_id, contact_id);
select app.protect('sms_messages', 'user_id');

create table calls (
  id            uuid primary key default app.uuid_v7(),
  tenant_id     uuid not null,
  company_id    uuid,
  user_id       uuid not null,
  contact_id    uuid,
  direction     text not null check (direction in ('inbound', 'outbound')),
  status        text not null
    check (status in ('initiated', 'ringing', 'in-progress', 'completed', 'failed', 'busy', 'no-answer', 'canceled')),
  from_address  text not null,
  to_address    text not null,
  duration      int not null default 0 check (duration >= 0),  -- seconds
  recording_url text,
  notes         text,
  started_at    timestamptz,
  ended_at      timestamptz,
  created_at    timestamptz not null default now(),
  updated_at    timestamptz not null default now(),
  constraint calls_contact_fkey foreign key (tenant_id, contact_id) references contacts (tenant_id, id)
    on delete set null (contact_id) deferrable initially immediate
);
create index calls_feed on calls (tenant_id, created_at desc, id desc) include (company_id, user_id);
create index calls_contact on calls (tenant_id, contact_id);
select app.protect('calls', 'user_id');

reset role;
