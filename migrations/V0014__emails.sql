-- E-mail (contract: emails), and what the unified inbox needs of calls (contract: inbox).
set role ringfence_owner;

create table emails (
  id            uuid primary key default app.uuid_v7(),
  tenant_id     uuid not null,
  company_id    uuid,
  user_id       uuid not null,
  contact_id    uuid,
  direction     text not null check (direction in ('inbound', 'outbound')),
  status        text not null
    check (status in ('draft', 'scheduled', 'sent', 'received', 'delivered', 'opened', 'clicked', 'bounced', 'failed')),
  from_email    text not null check (length(from_email) <= 255),
  to_email      text not null check (length(to_email) <= 255),
  subject       text not null check (length(subject) <= 500),
  body          text not null,
  cc            text check (length(cc) <= 5000),   -- addresses with commas between them
  bcc           text check (length(bcc) <= 5000),
  provider_id   text check (length(provider_id) <= 255),
  error_message text check (length(error_message) <= 500),
  is_sending    boolean not null default false,    -- written down, and the answer is awaited
  sent_at       timestamptz,
  read_at       timestamptz,
  is_deleted    boolean not null default false,
  created_at    timestamptz not null default now(),
  updated_at    timestamptz not null default now(),
  constraint emails_contact_fkey foreign key (tenant_id, contact_id) references contacts (tenant_id, id)
    on delete set null (contact_id) deferrable initially immediate
);
create index emails_feed on emails (tenant_id, created_at desc, id desc) include (company_id, user_id, is_deleted);
create index emails_received on emails (tenant_id, created_at desc, id desc) include (company_id, user_id) where status = 'received' and not is_deleted;
create index emails_contact on emails (tenant_id, contact_id);
select app.protect('emails', 'user_id');

-- As the wire has it; the inbox screen reads `from_address` and `to_address`.
create view email_card with (security_invoker = true) as
  select id, from_email, to_email, subject, body, cc, bcc, status, sent_at, read_at, contact_id, user_id, created_at, updated_at, direction,
    from_email as from_address, to_email as to_address, is_deleted
  from emails;
grant select on email_card to ringfence_api, ringfence_operator;

-- Nothing leaves for somebody who wants no mail: each way of sending writes its mail as being sent first.
create function app.keep_email() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  address text;
begin
  foreach address in array regexp_split_to_array(lower(concat_ws(',', new.to_email, new.cc, new.bcc)), '\s*,\s*') loop
    if app.is_suppressed('email', address) then
      raise sqlstate 'RF400' using message = 'One of the recipients has unsubscribed or cannot be reached';
    end if;
  end loop;
  return new;
end $$;
create trigger suppression before insert on emails for each row
  when (new.company_id is not null and new.is_sending) execute function app.keep_email();
create trigger expect after insert on emails for each row
  when (new.company_id is not null and new.is_sending) execute function app.expect_answer();
create trigger answered after update of is_sending on emails for each row
  when (old.is_sending and not new.is_sending and new.company_id is not null) execute function app.expect_answer();

alter table calls add column read_at timestamptz;
grant update (read_at) on calls to ringfence_api;

reset role;
