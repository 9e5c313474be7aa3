-- Contacts: the people a company deals with (contract: contacts).
set role ringfence_owner;

create table contacts (
  id            uuid primary key default app.uuid_v7(),
  tenant_id     uuid not null,
  company_id    uuid,
  owner_id      uuid not null,
  first_name    text not null check (length(first_name) <= 100),
  last_name     text not null check (length(last_name) <= 100),
  email         text not null check (length(email) <= 255),
  phone         text check (length(phone) <= 50),
  company       text check (length(company) <= 200),
  title         text check (length(title) <= 200),
  type          text check (length(type) <= 100),
  status        text not null default 'NEW'
    check (status in ('NEW', 'LEAD', 'PROSPECT', 'CONTACTED', 'QUALIFIED', 'UNQUALIFIED', 'CUSTOMER', 'INACTIVE')),
  is_deleted    boolean not null default false,
  created_at    timestamptz not null default now(),
  updated_at    timestamptz not null default now(),
  -- Under row-level security only leakproof operators reach an index, and lower() is none: so the text is stored lowered.
  first_name_lc text collate "C" generated always as (lower(first_name)) stored,
  last_name_lc  text collate "C" generated always as (lower(last_name)) stored,
  search_text   text collate "C" generated always as
    (lower(first_name || ' ' || last_name || ' ' || email || ' ' || coalesce(phone, '') || ' ' || coalesce(company, ''))) stored
);
create index contacts_feed on contacts (tenant_id, created_at, id) include (company_id, owner_id) where not is_deleted;
create index contacts_first_name on contacts (tenant_id, first_name_lc) where not is_deleted;
create index contacts_last_name on contacts (tenant_id, last_name_lc) where not is_deleted;
create unique index contacts_tenant_email_key on contacts (tenant_id, lower(email)) where not is_deleted and company_id is not null;
select app.protect('contacts', 'owner_id');

reset role;
