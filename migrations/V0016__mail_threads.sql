-- What became of mails, the threads that they make, what comes with them, and the company's addresses for SendGrid (contract: emails).
set role ringfence_owner;

alter table emails
  add column open_count int not null default 0,
  add column message_id text check (length(message_id) <= 500),      -- its Message-ID in the world, without < and >
  add column in_reply_to text check (length(in_reply_to) <= 500),    -- the Message-ID of the mail that it answers
  add column reference_ids text check (length(reference_ids) <= 10000),  -- of all mails before it, with spaces between them
  add column thread_id uuid,                                           -- the first mail of its thread; null is itself
  add column attachments uuid[] not null default '{}';                 -- files of the company
grant update (open_count, message_id, in_reply_to, reference_ids, thread_id, attachments) on emails to ringfence_api;
create index emails_thread on emails (tenant_id, thread_id);
create index emails_message on emails (tenant_id, message_id) where message_id is not null;
-- What comes in comes once.
create unique index emails_received_key on emails (tenant_id, message_id) where direction = 'inbound' and company_id is not null;

create or replace view email_card with (security_invoker = true) as
  select id, from_email, to_email, subject, body, cc, bcc, status, sent_at, read_at, contact_id, user_id, created_at, updated_at, direction,
    from_email as from_address, to_email as to_address, is_deleted, coalesce(thread_id, id) as thread_id, attachments, open_count
  from emails;

-- Where a mail is on its way. It only moves forward, whatever the order in which a provider tells of it.
create function app.email_rank(status text) returns int language sql immutable parallel safe
  return case status when 'sent' then 1 when 'failed' then 1 when 'delivered' then 2 when 'bounced' then 3 when 'received' then 3
    when 'opened' then 4 when 'clicked' then 5 else 0 end;

-- The first time that a mail is opened starts what its owner has for that.
create function app.open_mail() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  perform app.fire('email_opened', new.id, jsonb_build_object('to', new.to_email, 'subject', new.subject, 'contact_id', new.contact_id));
  return null;
end $$;
create trigger opened after update of open_count on emails for each row
  when (old.open_count = 0 and new.open_count > 0 and new.company_id is not null) execute function app.open_mail();

-- Files that are to go with a mail: all of them the company's, and together not too large.
create function app.attachable(given uuid[], "limit" bigint) returns uuid[] language plpgsql stable as $$
declare
  found bigint;
  bytes bigint;
begin
  if cardinality(given) > 0 then
    select count(*), coalesce(sum(f.size), 0) into found, bytes from public.files f
    where f.id = any (given) and not f.is_deleted and f.object_key is not null;
    if found <> (select count(distinct g) from unnest(given) g) then
      raise sqlstate 'RF404' using message = 'File';
    elsif bytes > "limit" then
      raise sqlstate 'RF400' using message = format('The attachments are larger than %s MiB together', "limit" >> 20);
    end if;
  end if;
  return given;
end $$;
grant execute on function app.email_rank(text), app.attachable(uuid[], bigint) to ringfence_api, ringfence_dba;

create index contacts_email on contacts (tenant_id, email) where not is_deleted;

-- By what SendGrid proves that it speaks of a company, and in whose name its mail comes in.
create table mail_hooks (
  id               uuid primary key default app.uuid_v7(),
  tenant_id        uuid not null,
  company_id       uuid,
  user_id          uuid not null,
  key_hash         bytea not null,                                   -- SHA-256 of the key in the addresses
  verification_key text check (length(verification_key) <= 500),      -- the public key of signed events
  created_at       timestamptz not null default now(),
  updated_at       timestamptz not null default now()
);
create unique index mail_hooks_tenant_row_key on mail_hooks (tenant_id) where company_id is not null;
select app.protect('mail_hooks', 'user_id');

reset role;
