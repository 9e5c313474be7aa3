-- What a company talks to its customers with: its Twilio account and numbers, templates, scheduled messages,
-- conversations, and the addresses that must not be written to (contract: twilio-settings, sms, calls, conversations).
set role ringfence_owner;

-- The account without its secrets, which are in app.company_secrets: twilio_auth_token and sendgrid_api_key.
create table twilio_settings (
  id                  uuid primary key default app.uuid_v7(),
  tenant_id           uuid not null,
  company_id          uuid,
  user_id             uuid not null,
  account_sid         text not null check (length(account_sid) <= 255),
  phone_number        text check (length(phone_number) <= 50),
  sendgrid_from_email text check (length(sendgrid_from_email) <= 255),
  sms_enabled         boolean not null default true,
  voice_enabled       boolean not null default true,
  email_enabled       boolean not null default false,
  is_active           boolean not null default true,
  is_verified         boolean not null default false,
  last_verified_at    timestamptz,
  created_at          timestamptz not null default now(),
  updated_at          timestamptz not null default now()
);
create unique index twilio_settings_tenant_row_key on twilio_settings (tenant_id) where company_id is not null;
select app.protect('twilio_settings', 'user_id');
grant select (phone_number, is_active, created_at) on twilio_settings to ringfence_platform;

create table phone_numbers (
  id                      uuid primary key default app.uuid_v7(),
  tenant_id               uuid not null,
  company_id              uuid,
  user_id                 uuid not null,
  phone_number            text not null check (length(phone_number) <= 50),
  friendly_name           text check (length(friendly_name) <= 255),
  twilio_sid              text check (length(twilio_sid) <= 100),
  sms_enabled             boolean not null default true,
  voice_enabled           boolean not null default true,
  mms_enabled             boolean not null default false,
  is_active               boolean not null default true,
  rotation_enabled        boolean not null default false,
  rotation_priority       int not null default 0,
  total_messages_sent     int not null default 0,
  total_messages_received int not null default 0,
  last_used_at            timestamptz,
  is_deleted              boolean not null default false,
  created_at              timestamptz not null default now(),
  updated_at              timestamptz not null default now()
);
create unique index phone_numbers_tenant_number_key on phone_numbers (tenant_id, phone_number) where not is_deleted and company_id is not null;
-- What comes in for a number is one company's, so a number is in use once.
create unique index phone_numbers_in_use_key on phone_numbers (phone_number) where is_active and not is_deleted and company_id is not null;
select app.protect('phone_numbers', 'user_id');
grant select (phone_number, is_active, is_deleted) on phone_numbers to ringfence_platform;

create table sms_templates (
  id                 uuid primary key default app.uuid_v7(),
  tenant_id          uuid not null,
  company_id         uuid,
  user_id            uuid not null,
  name               text not null check (length(name) <= 255),
  category           text check (length(category) <= 100),
  body               text not null,
  is_static          boolean not null default true,
  variables          text,  -- a JSON array as text
  use_ai_enhancement boolean not null default false,
  ai_tone            text check (length(ai_tone) <= 50),
  usage_count        int not null default 0,
  is_active          boolean not null default true,
  is_deleted         boolean not null default false,
  created_at         timestamptz not null default now(),
  updated_at         timestamptz not null default now()
);
create index sms_templates_feed on sms_templates (tenant_id, usage_count desc, created_at, id) include (company_id, user_id)
  where is_active and not is_deleted;
select app.protect('sms_templates', 'user_id');

-- Who talks to whom: one conversation for a company and a customer's number.
create table conversations (
  id                  uuid primary key default app.uuid_v7(),
  tenant_id           uuid not null,
  company_id          uuid,
  user_id             uuid not null,
  to_number           text not null check (length(to_number) <= 50),
  from_twilio_number  text not null check (length(from_twilio_number) <= 50),
  conversation_status text not null default 'active' check (conversation_status in ('active', 'inactive', 'blocked')),
  last_message_at     timestamptz not null default now(),
  message_count       int not null default 0,
  unread_count        int not null default 0,
  is_deleted          boolean not null default false,
  created_at          timestamptz not null default now(),
  updated_at          timestamptz not null default now()
);
create unique index conversations_tenant_number_key on conversations (tenant_id, to_number) where not is_deleted and company_id is not null;
create index conversations_feed on conversations (tenant_id, last_message_at desc, id desc) include (company_id, user_id, conversation_status)
  where not is_deleted;
select app.protect('conversations', 'user_id');

-- Addresses that must not be written to, whichever way a message would go. Numbers are E.164, e-mail is lower-cased.
create table suppressions (
  id         uuid primary key default app.uuid_v7(),
  tenant_id  uuid not null,
  company_id uuid,
  user_id    uuid not null,
  channel    text not null check (channel in ('sms', 'email')),
  address    text not null check (length(address) <= 255),
  reason     text not null check (reason in ('stop', 'unsubscribe', 'bounce', 'complaint', 'provider', 'admin')),
  note       text check (length(note) <= 500),
  created_at timestamptz not null default now()
);
create unique index suppressions_tenant_address_key on suppressions (tenant_id, channel, address) where company_id is not null;
create index suppressions_feed on suppressions (tenant_id, created_at desc, id desc) include (company_id, user_id);
select app.protect('suppressions', 'user_id');

-- Where a text is on its way. It only moves forward, whatever the order in which a provider tells of it.
create function app.sms_rank(status text) returns int language sql immutable parallel safe
  return case status when 'queued' then 0 when 'sent' then 1 when 'failed' then 2 when 'undelivered' then 2 when 'delivered' then 3
    when 'received' then 3 when 'read' then 4 end;
create function app.call_rank(status text) returns int language sql immutable parallel safe
  return case status when 'initiated' then 0 when 'ringing' then 1 when 'in-progress' then 2 else 3 end;

alter table sms_messages
  add column twilio_sid text check (length(twilio_sid) <= 100),
  add column delivered_at timestamptz,
  add column error_code text check (length(error_code) <= 50),
  add column error_message text check (length(error_message) <= 500),
  add column conversation_id uuid,
  add column sender_id uuid,  -- the number it left by
  add constraint sms_messages_conversation_fkey foreign key (tenant_id, conversation_id) references conversations (tenant_id, id)
    on delete set null (conversation_id) deferrable initially immediate,
  add constraint sms_messages_sender_fkey foreign key (tenant_id, sender_id) references phone_numbers (tenant_id, id)
    on delete set null (sender_id) deferrable initially immediate;
grant update (twilio_sid, delivered_at, error_code, error_message, conversation_id, sender_id) on sms_messages to ringfence_api;
create unique index sms_messages_sid_key on sms_messages (tenant_id, twilio_sid) where company_id is not null;
create index sms_messages_conversation on sms_messages (tenant_id, conversation_id, created_at desc, id desc);
create index sms_messages_sender on sms_messages (tenant_id, sender_id) where sender_id is not null;

alter table calls
  add column twilio_sid text check (length(twilio_sid) <= 100),
  add column error_message text check (length(error_message) <= 500);
grant update (twilio_sid, error_message) on calls to ringfence_api;
create unique index calls_sid_key on calls (tenant_id, twilio_sid) where company_id is not null;

create table scheduled_sms (
  id            uuid primary key default app.uuid_v7(),
  tenant_id     uuid not null,
  company_id    uuid,
  user_id       uuid not null,
  contact_id    uuid,
  template_id   uuid,
  message_id    uuid,  -- what it became
  from_address  text not null check (length(from_address) <= 50),
  to_address    text not null check (length(to_address) <= 50),
  body          text not null,
  scheduled_at  timestamptz not null,
  is_sent       boolean not null default false,
  sent_at       timestamptz,
  is_cancelled  boolean not null default false,
  error_message text check (length(error_message) <= 500),
  created_at    timestamptz not null default now(),
  updated_at    timestamptz not null default now(),
  constraint scheduled_sms_contact_fkey foreign key (tenant_id, contact_id) references contacts (tenant_id, id)
    on delete set null (contact_id) deferrable initially immediate,
  constraint scheduled_sms_template_fkey foreign key (tenant_id, template_id) references sms_templates (tenant_id, id)
    on delete set null (template_id) deferrable initially immediate,
  constraint scheduled_sms_message_fkey foreign key (tenant_id, message_id) references sms_messages (tenant_id, id)
    on delete set null (message_id) deferrable initially immediate
);
create index scheduled_sms_feed on scheduled_sms (tenant_id, scheduled_at, id) include (company_id, user_id) where not is_sent and not is_cancelled;
create index scheduled_sms_contact on scheduled_sms (tenant_id, contact_id);
create index scheduled_sms_template on scheduled_sms (tenant_id, template_id);
create index scheduled_sms_message on scheduled_sms (tenant_id, message_id);
select app.protect('scheduled_sms', 'user_id');

-- The job of a scheduled message comes and goes with it.
create function app.follow_scheduled_sms() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if tg_op = 'INSERT' and not new.is_sent and not new.is_cancelled then
    insert into public.jobs (tenant_id, company_id, user_id, kind, record_id, run_at)
    values (new.tenant_id, new.company_id, new.user_id, 'scheduled_sms', new.id, new.scheduled_at);
  elsif new.is_sent or new.is_cancelled then
    delete from public.jobs j where j.tenant_id = new.tenant_id and j.kind = 'scheduled_sms' and j.record_id = new.id;
  end if;
  return null;
end $$;
create trigger follow after insert or update of is_sent, is_cancelled on scheduled_sms for each row
  when (new.company_id is not null) execute function app.follow_scheduled_sms();

-- Whether a company may not write to an address.
create function app.is_suppressed(channel text, address text) returns boolean language sql stable
  return exists (select from public.suppressions s where s.channel = $1 and s.address = $2);

-- The time zones in which a number can be, by its country's calling code; none when unknown.
create function app.zones_of_number(number text) returns text[] language sql immutable return (
  select z.zones from (values
    ('+1', array['America/New_York', 'America/Chicago', 'America/Denver', 'America/Los_Angeles']),
    ('+7', array['Europe/Moscow', 'Asia/Yekaterinburg', 'Asia/Novosibirsk', 'Asia/Vladivostok']),
    ('+20', array['Africa/Cairo']), ('+27', array['Africa/Johannesburg']), ('+30', array['Europe/Athens']),
    ('+31', array['Europe/Amsterdam']), ('+32', array['Europe/Brussels']), ('+33', array['Europe/Paris']),
    ('+34', array['Europe/Madrid', 'Atlantic/Canary']), ('+36', array['Europe/Budapest']), ('+39', array['Europe/Rome']),
    ('+40', array['Europe/Bucharest']), ('+41', array['Europe/Zurich']), ('+43', array['Europe/Vienna']),
    ('+44', array['Europe/London']), ('+45', array['Europe/Copenhagen']), ('+46', array['Europe/Stockholm']),
    ('+47', array['Europe/Oslo']), ('+48', array['Europe/Warsaw']), ('+49', array['Europe/Berlin']),
    ('+51', array['America/Lima']), ('+52', array['America/Mexico_City', 'America/Tijuana', 'America/Cancun']),
    ('+54', array['America/Argentina/Buenos_Aires']), ('+55', array['America/Sao_Paulo', 'America/Manaus']),
    ('+56', array['America/Santiago']), ('+57', array['America/Bogota']), ('+60', array['Asia/Kuala_Lumpur']),
    ('+61', array['Australia/Sydney', 'Australia/Brisbane', 'Australia/Perth']),
    ('+62', array['Asia/Jakarta', 'Asia/Jayapura']), ('+63', array['Asia/Manila']), ('+64', array['Pacific/Auckland']),
    ('+65', array['Asia/Singapore']), ('+66', array['Asia/Bangkok']), ('+81', array['Asia/Tokyo']), ('+82', array['Asia/Seoul']),
    ('+84', array['Asia/Ho_Chi_Minh']), ('+86', array['Asia/Shanghai']), ('+90', array['Europe/Istanbul']),
    ('+91', array['Asia/Kolkata']), ('+92', array['Asia/Karachi']), ('+94', array['Asia/Colombo']), ('+234', array['Africa/Lagos']),
    ('+254', array['Africa/Nairobi']), ('+351', array['Europe/Lisbon', 'Atlantic/Azores']), ('+353', array['Europe/Dublin']),
    ('+358', array['Europe/Helsinki']), ('+380', array['Europe/Kyiv']), ('+420', array['Europe/Prague']),
    ('+852', array['Asia/Hong_Kong']), ('+880', array['Asia/Dhaka']), ('+886', array['Asia/Taipei']),
    ('+966', array['Asia/Riyadh']), ('+971', array['Asia/Dubai']), ('+972', array['Asia/Jerusalem'])
  ) z (prefix, zones) where starts_with($1, z.prefix) order by length(z.prefix) desc limit 1);

-- The end of the company's quiet hours for a number, if they are on and it is night there: in any zone in which it can be,
-- and by the company's own zone where that is not known.
create function app.quiet_until(number text) returns timestamptz language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  starts time;
  ends time;
  zones text[];
  zone text;
  moment timestamptz := now();
  here timestamp;
  quiet boolean := true;
begin
  select (c.settings -> 'quiet_hours' ->> 'from')::time, (c.settings -> 'quiet_hours' ->> 'to')::time,
    coalesce(app.zones_of_number(number), array[coalesce(c.timezone, 'UTC')])
  into starts, ends, zones from public.companies c where c.id = app.company_id();
  if starts is null or ends is null or starts = ends then
    return null;
  end if;
  while quiet and moment < now() + interval '3 days' loop
    quiet := false;
    foreach zone in array zones loop
      here := moment at time zone zone;
      if (starts < ends and here::time >= starts and here::time < ends) or (starts > ends and (here::time >= starts or here::time < ends)) then
        moment := (here::date + ends + case when here::time >= ends then interval '1 day' else interval '0' end) at time zone zone;
        quiet := true;
      end if;
    end loop;
  end loop;
  return nullif(moment, now());
end $$;

-- By which of its numbers a company writes: the given one if it is its own, else by rotation, else any that can.
create function app.sender(given text, rotate boolean, voice boolean, out number text, out id uuid) language plpgsql stable as $$
begin
  select n.phone_number, n.id into number, id from public.phone_numbers n
  where n.is_active and not n.is_deleted
    and case when given is not null then n.phone_number = given when voice then n.voice_enabled else n.sms_enabled end
  order by (rotate and n.rotation_enabled) desc, case when rotate and n.rotation_enabled then n.rotation_priority end desc,
    case when rotate and n.rotation_enabled then n.last_used_at end nulls first, n.created_at, n.id
  limit 1;
  if number is null then
    select s.phone_number into number from public.twilio_settings s
    where s.is_active and s.phone_number is not null and (given is null or s.phone_number = given);
  end if;
  if number is null then
    raise sqlstate 'RF400' using message = case when given is null then 'No phone number available: add one or sync them from Twilio'
      else 'The sender is not one of the company''s phone numbers' end;
  end if;
end $$;
grant execute on function app.quiet_until(text), app.zones_of_number(text), app.is_suppressed(text, text), app.sms_rank(text), app.call_rank(text)
  to ringfence_api, ringfence_dba;
grant execute on function app.sender(text, boolean, boolean) to ringfence_api;

-- A text belongs to the conversation with its customer. And nothing leaves for somebody who has opted out: each way of
-- sending writes its message as queued first, so that it comes by here.
create function app.keep_message() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  quiet timestamptz;
  customer text := case new.direction when 'inbound' then new.from_address else new.to_address end;
  own text := case new.direction when 'inbound' then new.to_address else new.from_address end;
  state text;
begin
  if new.direction = 'outbound' and new.status = 'queued' and app.is_suppressed('sms', customer) then
    raise sqlstate 'RF400' using message = 'This number has opted out of text messages';
  end if;
  if new.direction = 'outbound' and new.status = 'queued' then
    quiet := app.quiet_until(customer);
    if quiet is not null then
      raise sqlstate 'RF400' using message = format('It is night for this number: schedule the message for after %s UTC', to_char(quiet at time zone 'UTC', 'YYYY-MM-DD HH24:MI'));
    end if;
  end if;
  insert into public.conversations as c (tenant_id, company_id, user_id, to_number, from_twilio_number, last_message_at, message_count, unread_count)
  values (new.tenant_id, new.company_id, new.user_id, customer, own, new.created_at, 1, (new.direction = 'inbound' and new.read_at is null)::int)
  on conflict (tenant_id, to_number) where not is_deleted and company_id is not null do update set
    message_count = c.message_count + 1, unread_count = c.unread_count + excluded.unread_count,
    last_message_at = greatest(c.last_message_at, excluded.last_message_at), updated_at = now()
  returning c.id, c.conversation_status into new.conversation_id, state;
  if state = 'blocked' and new.direction = 'outbound' and new.status = 'queued' then
    raise sqlstate 'RF400' using message = 'The conversation with this number is blocked';
  end if;
  return new;
end $$;
create trigger conversation before insert on sms_messages for each row
  when (new.company_id is not null) execute function app.keep_message();

-- A message that is queued was on its way when its server died, unless the answer comes within ten minutes: then it is
-- failed with that reason, and never sent again by itself. The job is deleted when the answer is written down.
create function app.expect_answer() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if tg_op = 'INSERT' then
    insert into public.jobs (tenant_id, company_id, user_id, kind, record_id, run_at)
    values (new.tenant_id, new.company_id, new.user_id, 'unanswered', new.id, now() + interval '10 minutes');
  else
    delete from public.jobs j where j.tenant_id = new.tenant_id and j.kind = 'unanswered' and j.record_id = new.id;
  end if;
  return null;
end $$;
create trigger expect after insert on sms_messages for each row
  when (new.company_id is not null and new.direction = 'outbound' and new.status = 'queued') execute function app.expect_answer();
create trigger answered after update of status on sms_messages for each row
  when (old.status = 'queued' and new.status <> 'queued' and new.company_id is not null) execute function app.expect_answer();
create trigger expect after insert on calls for each row
  when (new.company_id is not null and new.direction = 'outbound' and new.status = 'initiated' and new.twilio_sid is null)
  execute function app.expect_answer();
create trigger answered after update of twilio_sid, status on calls for each row
  when (old.twilio_sid is null and (new.twilio_sid is not null or new.status <> 'initiated') and new.company_id is not null)
  execute function app.expect_answer();

-- The companies that say a number is theirs, with the user in whose name its messages come in. One of them has the
-- account whose signature the provider's call bears.
create function app.companies_of_number(number text) returns table (company_id uuid, user_id uuid) language sql stable
  security definer set search_path = pg_catalog, pg_temp
  begin atomic
    select n.company_id, n.user_id from public.phone_numbers n
      where n.phone_number = $1 and n.is_active and not n.is_deleted and n.company_id is not null
    union
    select s.company_id, s.user_id from public.twilio_settings s
      where s.phone_number = $1 and s.is_active and s.company_id is not null
        and not exists (select from public.phone_numbers n where n.phone_number = $1 and n.tenant_id = s.tenant_id and n.is_active and not n.is_deleted)
    limit 20;
  end;
create index twilio_settings_number on twilio_settings (phone_number) where company_id is not null;

-- A sealed secret of the entered company, and the last four characters of one.
create function app.company_secret(name text) returns bytea language sql stable security definer set search_path = pg_catalog, pg_temp
  begin atomic select s.sealed from app.company_secrets s where s.company_id = app.company_id() and s.name = $1; end;
create function app.company_secret_hint(name text) returns text language sql stable security definer set search_path = pg_catalog, pg_temp
  begin atomic select s.last_four from app.company_secrets s where s.company_id = app.company_id() and s.name = $1; end;

-- Takes jobs that are due, turn by turn from each company, so that a company with many does not hold up the others; `busy`
-- ones have enough under way.
drop function app.claim_jobs(text[], int);
drop index jobs_due;
create index jobs_due on jobs (run_at) include (tenant_id) where failed_at is null;
create index jobs_of_tenant_due on jobs (tenant_id, run_at) where failed_at is null;
create function app.claim_jobs(kinds text[], "limit" int, busy uuid[])
  returns table (id uuid, company_id uuid, user_id uuid, kind text, record_id uuid) language sql
  security definer set search_path = pg_catalog, pg_temp
  begin atomic
    with recursive tenant as (
      (select j.tenant_id from public.jobs j
        where j.failed_at is null and exists (select from public.jobs d where d.failed_at is null and d.run_at <= now())
        order by j.tenant_id limit 1)
      union all
      select (select j.tenant_id from public.jobs j where j.failed_at is null and j.tenant_id > t.tenant_id order by j.tenant_id limit 1)
      from tenant t where t.tenant_id is not null
    ), due as (
      select d.id, row_number() over (partition by t.tenant_id order by d.run_at) as turn, d.run_at
      from tenant t, lateral (
        select j.id, j.run_at from public.jobs j
        where j.tenant_id = t.tenant_id and j.failed_at is null and j.run_at <= now() and j.kind = any ($1)
        order by j.run_at limit $2 for update skip locked) d
      where t.tenant_id <> all ($3)
    ), taken as (
      select due.id from due order by due.turn, due.run_at limit $2
    )
    update public.jobs j set run_at = now() + interval '5 minutes', attempts = j.attempts + 1
    from taken where j.id = taken.id
    returning j.id, j.company_id, j.user_id, j.kind, j.record_id;
  end;

reset role;
alter function app.companies_of_number(text) owner to ringfence_platform;
alter function app.company_secret(text) owner to ringfence_platform;
alter function app.company_secret_hint(text) owner to ringfence_platform;
alter function app.claim_jobs(text[], int, uuid[]) owner to ringfence_platform;
grant execute on function app.companies_of_number(text), app.company_secret(text), app.company_secret_hint(text),
  app.claim_jobs(text[], int, uuid[]) to ringfence_api;

-- Numbers are compared by their digits: people write them in many ways.
alter table contacts add column phone_digits text generated always as (regexp_replace(phone, '\D', '', 'g')) stored;
create index contacts_phone on contacts (tenant_id, phone_digits) where not is_deleted and phone_digits <> '';
-- A function in SQL has the columns that the table had when it was made.
do $$
begin
  if not (select p.prosecdef from pg_proc p where p.oid = 'app.contacts_containing(text)'::regprocedure) then
    set local role ringfence_owner;
    create or replace function app.contacts_containing(pattern text) returns setof contacts language sql stable parallel safe
      begin atomic select c.* from public.contacts c where c.search_text operator(leakproof.~~~*) $1; end;
    reset role;
  end if;
end $$;
