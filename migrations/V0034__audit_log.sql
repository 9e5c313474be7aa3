-- Who changed what a company's admin answers for: written by the database, so that it holds for handlers, jobs, the platform's
-- functions and people at psql alike, and never changed. What ringfence_dba does (import, backfill, erasure) has records of its own.
set role ringfence_owner;

create table audit_log (
  id         uuid primary key default app.uuid_v7(),
  tenant_id  uuid not null,  -- the company; without one the user whose row it is
  company_id uuid,  -- null: a user without company, or a historical row
  created_at timestamptz not null default clock_timestamp(),
  table_name text not null,
  record_id  uuid,
  action     text not null check (action in ('insert', 'update', 'delete')),
  before     jsonb,
  after      jsonb,
  user_id    uuid,  -- in whose name; null for a person at psql
  role       text,  -- the user's role then, or 'job' for jobs and webhooks
  db_role    name,  -- the login, when it is not the API's
  request_id text,
  constraint audit_log_company_is_tenant check (company_id is null or company_id = tenant_id)
);
create index audit_log_feed on audit_log (tenant_id, created_at desc, id desc);
create index audit_log_record on audit_log (tenant_id, record_id, created_at desc);
alter table audit_log enable row level security, force row level security;
create policy own on audit_log to ringfence_api using (tenant_id = (select app.company_id())) with check (tenant_id = (select app.company_id()));
create policy operator on audit_log for select to ringfence_operator, ringfence_operator_limited
  using (tenant_id = (select app.operator_company()));
create policy platform on audit_log to ringfence_platform using (true) with check (true);
grant select on audit_log to ringfence_api, ringfence_operator;
grant insert on audit_log to ringfence_platform;
revoke insert, truncate, references, trigger on audit_log from ringfence_dba;

-- Only erasure takes something away.
create function app.keep_append_only() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if current_user <> 'ringfence_dba' then
    raise insufficient_privilege using message = 'the audit log is only added to';
  end if;
  return null;
end $$;
create trigger append_only before update or delete or truncate on audit_log for each statement execute function app.keep_append_only();

-- Writes one change down. The trigger's arguments are the columns whose values are kept, so a column with a secret is kept
-- only if somebody names it; an update that changes none of them is none. Without arguments the change alone is noted.
create function app.keep_audit_log() returns trigger language plpgsql
  security definer set search_path = pg_catalog, pg_temp set row_security = on as $$
declare
  was jsonb := case when tg_op <> 'INSERT' then to_jsonb(old) end;
  now_is jsonb := case when tg_op <> 'DELETE' then to_jsonb(new) end;
  changed jsonb := coalesce(now_is, was);
  request text := coalesce(current_setting('app.request_id', true), '');
  is_job boolean := starts_with(request, 'job ');
  kept_before jsonb;
  kept_after jsonb;
begin
  if current_setting('role') = 'ringfence_dba' then
    return null;
  end if;
  if tg_nargs > 0 then
    select jsonb_object_agg(c.name, app.brief(was -> c.name)) filter (where was is not null),
      jsonb_object_agg(c.name, app.brief(now_is -> c.name)) filter (where now_is is not null)
    into kept_before, kept_after
    from unnest(tg_argv) c (name)
    where was is null or now_is is null or was -> c.name is distinct from now_is -> c.name;
    if tg_op = 'UPDATE' and kept_after is null then
      return null;
    end if;
  end if;
  -- A user who moves is news for both companies, and neither is told which the other one is.
  insert into public.audit_log (tenant_id, company_id, table_name, record_id, action, before, after, user_id, role, db_role, request_id)
  select coalesce(c.id, (changed ->> 'tenant_id')::uuid, (changed ->> 'id')::uuid), c.id, tg_table_name, (changed ->> 'id')::uuid, lower(tg_op),
    app.without_other_company(kept_before, c.id), app.without_other_company(kept_after, c.id), app.user_id(),
    case when is_job then 'job' else (select k.role from app.caller k where k.user_id = app.user_id()) end,
    nullif(session_user, 'ringfence_api'), nullif(case when is_job then substr(request, 5) else request end, '')
  from (select (case when tg_table_name = 'companies' then was ->> 'id' else was ->> 'company_id' end)::uuid where was is not null
    union select (case when tg_table_name = 'companies' then now_is ->> 'id' else now_is ->> 'company_id' end)::uuid where now_is is not null) c (id);
  return null;
end $$;

-- A value as the log keeps it.
create function app.brief(value jsonb) returns jsonb language sql immutable parallel safe
  return case when length($1::text) > 500 then to_jsonb(left($1::text, 500) || '…') else $1 end;

create function app.without_other_company(kept jsonb, company uuid) returns jsonb language sql immutable parallel safe
  return case when $1 ->> 'company_id' is distinct from $2::text then $1 - 'company_id' else $1 end;
grant execute on function app.brief(jsonb), app.without_other_company(jsonb, uuid) to ringfence_platform;

create trigger audit after insert or delete or update of company_id, user_role, status, is_active, is_deleted, email on users
  for each row execute function app.keep_audit_log('company_id', 'user_role', 'status', 'is_active', 'is_deleted', 'email');
create trigger audit after insert or delete or update of name, plan, status, subscription_status, domain, timezone, currency, settings on companies
  for each row execute function app.keep_audit_log('name', 'plan', 'status', 'subscription_status', 'domain', 'timezone', 'currency', 'settings');
create trigger audit after insert or delete or update of account_sid, phone_number, sendgrid_from_email, sms_enabled, voice_enabled, email_enabled, is_active
  on twilio_settings for each row
  execute function app.keep_audit_log('account_sid', 'phone_number', 'sendgrid_from_email', 'sms_enabled', 'voice_enabled', 'email_enabled', 'is_active');
create trigger audit after insert or delete or update of phone_number, friendly_name, is_active, is_deleted, rotation_enabled on phone_numbers
  for each row execute function app.keep_audit_log('phone_number', 'friendly_name', 'is_active', 'is_deleted', 'rotation_enabled');
create trigger audit after insert or delete or update of name, status, trigger, conditions, actions, schedule, max_executions, is_deleted on workflows
  for each row execute function app.keep_audit_log('name', 'status', 'trigger', 'conditions', 'actions', 'schedule', 'max_executions', 'is_deleted');
create trigger audit after insert or delete or update of campaign_name, subject, status, is_deleted on campaigns
  for each row execute function app.keep_audit_log('campaign_name', 'subject', 'status', 'total_recipients', 'is_deleted');
create trigger audit after insert or delete or update of name, is_default, is_active, is_deleted on pipelines
  for each row execute function app.keep_audit_log('name', 'is_default', 'is_active', 'is_deleted');
create trigger audit after insert or delete or update of name, order_index, probability, is_active, is_deleted on pipeline_stages
  for each row execute function app.keep_audit_log('pipeline_id', 'name', 'order_index', 'probability', 'is_active', 'is_deleted');
create trigger audit after insert or delete or update of channel, address, reason on suppressions
  for each row execute function app.keep_audit_log('channel', 'address', 'reason');
create trigger audit after insert or delete or update of email, user_role, expires_at, accepted_at on invitations
  for each row execute function app.keep_audit_log('email', 'user_role', 'expires_at', 'accepted_at');
create trigger audit after insert or delete or update of key_hash, verification_key on mail_hooks for each row execute function app.keep_audit_log();
create trigger audit after insert or delete or update of sealed on app.company_secrets for each row execute function app.keep_audit_log();

-- Of what is made all day long, that it was deleted or came back, and nothing of what it said.
create trigger audit after delete or update of is_deleted on contacts for each row execute function app.keep_audit_log('is_deleted');
create trigger audit after delete or update of is_deleted on deals for each row execute function app.keep_audit_log('is_deleted');
create trigger audit after delete or update of is_deleted on quotes for each row execute function app.keep_audit_log('is_deleted');
create trigger audit after delete or update of is_deleted on files for each row execute function app.keep_audit_log('is_deleted');

reset role;
alter function app.keep_audit_log() owner to ringfence_platform;
