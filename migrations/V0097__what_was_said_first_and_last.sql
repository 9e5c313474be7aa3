-- What a person has said of an address outweighs what others say of it, and an address of a sender is one company's.
set role ringfence_owner;

-- An entry has the weightiest reason that is known, and remembers that an admin has entered the address, too.
alter table suppressions add column also_admin boolean not null default false;
grant update (also_admin) on suppressions to ringfence_api;
grant insert (also_admin), update (also_admin) on suppressions to ringfence_operator_write;

-- What the person has said, to the company, the provider or the carrier, weighs more than a mail that came back, and that more than an
-- admin's entry: who lifts an entry knows what they lift.
create function app.reason_weight(reason text) returns int language sql immutable parallel safe
  return case reason when 'admin' then 0 when 'bounce' then 1 else 2 end;

-- Keeps the company from writing to an address for a reason that was heard of, in the name of a user; nothing when the address is listed
-- for a reason that weighs as much.
create function app.suppress(channel text, address text, reason text, user_id uuid) returns void language sql
  begin atomic
    insert into public.suppressions as s (channel, address, reason, user_id) values ($1, $2, $3, $4)
    on conflict (tenant_id, channel, address) where company_id is not null do update
      set reason = excluded.reason, also_admin = s.also_admin or s.reason = 'admin'
      where app.reason_weight(excluded.reason) > app.reason_weight(s.reason);
  end;
grant execute on function app.reason_weight(text), app.suppress(text, text, text, uuid) to ringfence_api;

-- As in V0084, and the job of a campaign that failed stays while somebody is in doubt, to whom a worker was sending when it died.
create or replace function app.follow_campaign() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if new.is_deleted or new.status = 'sent' or new.status = 'failed' and not exists (
      select from public.campaign_recipients r where r.tenant_id = new.tenant_id and r.campaign_id = new.id and r.state = 'sending') then
    delete from public.jobs j where j.tenant_id = new.tenant_id and j.kind = 'campaign' and j.record_id = new.id;
  elsif new.status = 'sending' or new.status = 'scheduled' and new.scheduled_at is not null then
    insert into public.jobs (tenant_id, company_id, user_id, kind, record_id, run_at)
    values (new.tenant_id, new.company_id, new.user_id, 'campaign', new.id, case new.status when 'sending' then now() else new.scheduled_at end)
    on conflict (tenant_id, kind, record_id) do update set user_id = excluded.user_id, run_at = excluded.run_at, attempts = 0, failed_at = null;
  end if;
  return null;
end $$;

-- Since when somebody has their address, or a company's mail its sender, if not since the row was made.
alter table users add column address_since timestamptz;
alter table twilio_settings add column address_since timestamptz;
grant update (address_since) on twilio_settings to ringfence_api;
create function app.note_address() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  new.address_since := now();
  return new;
end $$;
create trigger note_address before update of email on users for each row
  when (not app.is_restoring() and lower(new.email) is distinct from lower(old.email)) execute function app.note_address();
create trigger note_address before update of sendgrid_from_email on twilio_settings for each row
  when (not app.is_restoring() and lower(new.sendgrid_from_email) is distinct from lower(old.sendgrid_from_email)) execute function app.note_address();
create index if not exists twilio_settings_sender on twilio_settings (app.global_key(lower(sendgrid_from_email))) where company_id is not null;
grant select (sendgrid_from_email, address_since) on twilio_settings to ringfence_platform;

reset role;

create or replace trigger audit after insert or delete or update of channel, address, reason, also_admin on suppressions
  for each row execute function app.keep_audit_log('channel', 'address', 'reason', 'also_admin');

-- Whether the address that the caller's mail bears is another company's: of those that have it as their sender or as a user's login, the
-- first one's. A company that is suspended has none. It says so of no other address.
create function app.sender_is_taken() returns boolean language sql stable security definer set search_path = pg_catalog, pg_temp
  begin atomic
    with sender as (
      select lower(coalesce(s.sendgrid_from_email, u.email)) as address
      from public.users u left join public.twilio_settings s on s.tenant_id = u.company_id and s.company_id is not null
      where u.id = app.user_id() and u.company_id = app.company_id()
    ), holder as (
      select u.company_id, coalesce(u.address_since, u.created_at) as since
      from sender join public.users u on app.global_key(u.email) = app.global_key(sender.address) and not u.is_deleted
      union all
      select s.company_id, coalesce(s.address_since, s.created_at)
      from sender join public.twilio_settings s on app.global_key(lower(s.sendgrid_from_email)) = app.global_key(sender.address)
      where s.company_id is not null
    )
    select coalesce((select h.company_id <> app.company_id() from holder h join public.companies c on c.id = h.company_id
      where not app.is_blocked(c.status, c.subscription_status) order by h.since, h.company_id limit 1), false);
  end;
revoke execute on function app.sender_is_taken() from public;
alter function app.sender_is_taken() owner to ringfence_platform;
grant execute on function app.sender_is_taken() to ringfence_api;
