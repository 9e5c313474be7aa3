-- Conversations are found by the number as it is dialled; what earlier imports left in the way; and companies that a super admin opens.
set role ringfence_owner;

-- A number in E.164, if src/telephony.rs or many digits leave no doubt which it is; otherwise as it is written, such as a short code.
create function app.dialled(written text) returns text language sql immutable parallel safe
  return case when written ~ '^\+[1-9][0-9]{6,14}$' then written
    when translate(written, ' -().' || chr(160), '') ~ '^(\+[0-9]+|03[0-9]+|[0-9]{10,})$' and app.e164(written) ~ '^\+[1-9][0-9]{6,14}$'
      then app.e164(written)
    else written end;
grant execute on function app.dialled(text) to ringfence_dba, ringfence_platform;
grant execute on function app.e164(text) to ringfence_platform;

-- As in V0078, but the number as it is dialled.
create or replace function app.customer_of(direction text, from_address text, to_address text) returns text language sql immutable parallel safe
  return left(app.dialled(case direction when 'inbound' then from_address else to_address end), 50);

reset role;

-- As in V0072, but a company that becomes active lets its people in, whatever its subscription was before.
create or replace function app.update_any_company(company_id uuid, patch jsonb) returns setof app.company_card language plpgsql
  security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform app.require_super_admin();
  update public.companies c set updated_at = now(), (name, domain, logo_url, timezone, currency, email, phone, address, city, state, zip, settings, plan, status) =
    (select n.name, case when lower(c.domain) = n.domain then c.domain else n.domain end, n.logo_url, n.timezone, n.currency, n.email, n.phone,
       n.address, n.city, n.state, n.zip, c.settings || n.settings, n.plan, n.status
     from jsonb_populate_record(c, $2) n),
    subscription_status = case when $2 ->> 'status' = 'active' and app.is_blocked('active', c.subscription_status) then 'active' else c.subscription_status end
  where c.id = $1;
  return query select c.* from app.company_card c where c.id = $1;
end $$;

-- What was imported before. Of conversations of a company, or of a user without one, that are with the same number, the one
-- that is found by it stays, or else the one in which it was last spoken: it has the texts of all, and is blocked if one of them was.
set role ringfence_owner;
grant update (to_number, from_twilio_number, conversation_status, is_deleted, updated_at) on conversations to ringfence_platform;
grant update (phone_number) on phone_numbers, twilio_settings to ringfence_platform;
grant select (from_address), update (from_address) on scheduled_sms to ringfence_platform;
grant select (size), update (size) on files to ringfence_platform;
reset role;
set role ringfence_platform;
with numbered as (
  select c.*, app.dialled(c.to_number) as number from public.conversations c where not c.is_deleted
), same as (
  select n.id, n.tenant_id, n.number, first_value(n.id) over (those order by n.to_number = n.number desc, n.last_message_at desc, n.id) as kept,
    bool_or(n.to_number <> n.number) over those as is_odd, bool_or(n.conversation_status = 'blocked') over those as is_blocked,
    sum(n.message_count) over those as texts, sum(n.unread_count) over those as unread, max(n.last_message_at) over those as last_at
  from numbered n
  window those as (partition by n.tenant_id, n.company_id, case when n.company_id is null then n.user_id end, n.number)
), mended as (
  update public.conversations c set updated_at = now(), is_deleted = c.id <> s.kept,
    to_number = case when c.id = s.kept then s.number else c.to_number end,
    conversation_status = case when s.is_blocked then 'blocked' else c.conversation_status end,
    message_count = case when c.id = s.kept then s.texts else 0 end, unread_count = case when c.id = s.kept then s.unread else 0 end,
    last_message_at = case when c.id = s.kept then s.last_at else c.last_message_at end
  from same s where s.id = c.id and s.is_odd
  returning c.id, c.tenant_id, s.kept
)
update public.sms_messages s set conversation_id = m.kept from mended m
where s.tenant_id = m.tenant_id and s.conversation_id = m.id and m.id <> m.kept;
update public.twilio_settings t set phone_number = app.dialled(t.phone_number) where app.dialled(t.phone_number) <> t.phone_number;
-- One that the company has twice, or that is in use twice, stays as it is written, and so does what is said by it.
update public.phone_numbers p set phone_number = app.dialled(p.phone_number)
where app.dialled(p.phone_number) <> p.phone_number
  and not exists (select from public.phone_numbers o where o.id <> p.id and not o.is_deleted and app.dialled(o.phone_number) = app.dialled(p.phone_number)
    and (o.tenant_id = p.tenant_id or o.is_active and p.is_active));
update public.conversations c set from_twilio_number = app.dialled(c.from_twilio_number)
where app.dialled(c.from_twilio_number) <> c.from_twilio_number
  and not exists (select from public.phone_numbers p where p.tenant_id = c.tenant_id and p.phone_number = c.from_twilio_number and not p.is_deleted);
update public.scheduled_sms s set from_address = app.dialled(s.from_address)
where not s.is_sent and not s.is_cancelled and app.dialled(s.from_address) <> s.from_address
  and not exists (select from public.phone_numbers p where p.tenant_id = s.tenant_id and p.phone_number = s.from_address and not p.is_deleted);
-- A size that no file has, added to the others', left no room for a company's uploads.
update public.files f set size = null where f.size > 1000000000000 and f.object_key is null;
reset role;
set role ringfence_owner;
revoke update (to_number, from_twilio_number, conversation_status, is_deleted, updated_at) on conversations from ringfence_platform;
revoke update (phone_number) on phone_numbers, twilio_settings from ringfence_platform;
revoke select (from_address), update (from_address) on scheduled_sms from ringfence_platform;
revoke select (size), update (size) on files from ringfence_platform;
reset role;
