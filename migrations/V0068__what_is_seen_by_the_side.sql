-- What others could learn or lose by the side: keys of locks, historical rows behind a job, and some smaller things.
set role ringfence_owner;

-- Everybody who has a login sees the keys of all locks in pg_locks, and could try what they are the keys of: so nobody can make
-- them who does not know this.
create table ops.lock_secret (
  secret bytea not null
);
alter table ops.lock_secret enable row level security, force row level security;
create policy platform on ops.lock_secret to ringfence_platform using (true) with check (true);
grant usage on schema ops to ringfence_platform;
grant select, insert on ops.lock_secret to ringfence_platform;

-- Whether something is done in somebody's name and not by them (sql/platform/enter_job.sql). What a run of their workflow finds, their
-- colleagues read in its outcome; so it finds no historical row. That somebody has opted out counts here as everywhere.
create function app.is_job() returns boolean language sql stable parallel safe
  return coalesce(starts_with(current_setting('app.request_id', true), 'job '), false);
grant execute on function app.is_job() to ringfence_api, ringfence_dba, ringfence_operator_write;

-- As in V0008, but for jobs; and a deal that names no pipeline is in one that the company sees, if there is one.
create or replace function app.deal_pipeline(given uuid) returns uuid language plpgsql stable as $$
declare
  found_id uuid;
begin
  if given is not null then
    return app.found('Pipeline', given, (select p.id from public.pipelines p where p.id = given and not p.is_deleted
      and (p.company_id is not null or not app.is_job())));
  end if;
  select p.id into found_id from public.pipelines p where not p.is_deleted and (p.company_id is not null or not app.is_job())
  order by p.company_id is null, p.is_default desc, p.order_index, p.created_at, p.id limit 1;
  if found_id is null then
    raise sqlstate 'RF400' using message = 'The company has no pipeline: create one first';
  end if;
  return found_id;
end $$;

-- As in V0008, but for jobs.
create or replace function app.deal_stage(pipeline_id uuid, stage_id uuid, stage_name text) returns uuid language plpgsql as $$
#variable_conflict use_column
declare
  s public.pipeline_stages;
begin
  if $2 is not null then
    select x.* into s from public.pipeline_stages x where x.id = $2 and not x.is_deleted
      and (x.company_id is not null or not app.is_job()) for key share;
    if s.id is null then
      raise sqlstate 'RF404' using message = 'Stage';
    elsif s.pipeline_id <> $1 then
      raise sqlstate 'RF400' using message = 'The stage belongs to another pipeline';
    end if;
  elsif $3 is not null then
    select x.* into s from public.pipeline_stages x where x.pipeline_id = $1 and x.name = $3 and not x.is_deleted
      and (x.company_id is not null or not app.is_job())
    order by x.order_index, x.created_at, x.id limit 1 for key share;
    if s.id is null then
      raise sqlstate 'RF400' using message = 'Stage not found in the pipeline';
    end if;
  end if;
  return s.id;
end $$;

create or replace function app.new_deal_title(title text) returns text language plpgsql as $$
begin
  perform app.lock_name('deal', concat_ws(' ', app.user_id(), title));
  if exists (select from public.deals d where d.owner_id = app.user_id() and d.title = $1 and not d.is_deleted
      and (d.company_id is not null or not app.is_job())) then
    raise sqlstate 'RF400' using message = 'A deal with this title already exists';
  end if;
  return title;
end $$;

-- As in V0009, but for jobs.
create or replace function app.new_activity_subject(subject text, due_date timestamptz) returns text language plpgsql as $$
begin
  perform app.lock_name('activity', concat_ws(' ', app.user_id(), subject));
  if exists (select from public.activities a where a.owner_id = app.user_id() and a.subject = $1 and a.due_date is not distinct from $2
      and (a.company_id is not null or not app.is_job())) then
    raise sqlstate 'RF400' using message = 'An activity with this subject and due date already exists';
  end if;
  return subject;
end $$;

-- As in V0044, but without the name of a stage that is historical.
create or replace function app.workflow_context(event text, record_id uuid) returns jsonb language plpgsql stable set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
  of_kind text := app.record_kind($1);
  it jsonb;
  deal jsonb;
  contact_id uuid;
  contact jsonb;
begin
  if of_kind = 'deal' then
    select to_jsonb(d) into it from (select id, title, value, currency, stage_id,
      case when exists (select from public.pipeline_stages p where p.id = stage_id and p.company_id is not null) then stage_name end as stage_name,
      pipeline_id, company, contact_id, description,
      expected_close_date, actual_close_date, status, probability, lost_reason, won_reason, tags, owner_id, created_at
      from public.deal_card where id = (select h.id from public.deals h where h.id = $2 and h.company_id is not null) and not is_deleted) d;
  elsif of_kind = 'contact' then
    contact_id := $2;
  elsif of_kind = 'activity' then
    select to_jsonb(a) into it from (select id, type, subject, description, status, due_date, completed_at, priority, contact_id, deal_id,
      location, outcome, owner_id, created_at from public.activities where id = $2 and company_id is not null) a;
  elsif of_kind = 'email' then
    select to_jsonb(e) into it from (select id, direction, status, from_email, to_email, subject, contact_id, sent_at, created_at
      from public.emails where id = $2 and not is_deleted and company_id is not null) e;
  elsif of_kind = 'message' then
    select to_jsonb(m) into it from (select id, direction, status, from_address, to_address, body, contact_id, created_at
      from public.sms_messages where id = $2 and company_id is not null) m;
  end if;
  if of_kind = 'activity' then
    select to_jsonb(d) into deal from (select id, title, value, currency, stage_id,
      case when exists (select from public.pipeline_stages p where p.id = stage_id and p.company_id is not null) then stage_name end as stage_name,
      pipeline_id, company, contact_id, description,
      expected_close_date, status, probability, tags, owner_id, created_at
      from public.deal_card where id = (select h.id from public.deals h where h.id = (it ->> 'deal_id')::uuid and h.company_id is not null) and not is_deleted) d;
  end if;
  contact_id := coalesce(contact_id, (it ->> 'contact_id')::uuid, (deal ->> 'contact_id')::uuid);
  select to_jsonb(c) into contact from (select id, first_name, last_name, concat_ws(' ', first_name, last_name) as name, email, phone, company,
    title, type, status, owner_id, created_at from public.contacts where id = contact_id and not is_deleted and company_id is not null) c;
  return jsonb_build_object('deal', deal, 'contact', contact, 'record', case of_kind when 'contact' then contact else it end,
      'company', (select jsonb_build_object('id', c.id, 'name', c.name, 'email', c.email, 'phone', c.phone, 'timezone', c.timezone,
        'currency', c.currency) from public.companies c where c.id = app.company_id()),
      'user', (select jsonb_build_object('id', u.id, 'first_name', u.first_name, 'last_name', u.last_name, 'email', u.email, 'phone', u.phone,
        'title', u.title) from public.users u where u.id = app.user_id()))
    || case when of_kind is not null and of_kind <> 'contact' then jsonb_build_object(of_kind, it) else '{}' end;
end $$;

-- As in V0002, but for a trial without an end, which has no days remaining.
create or replace view app.company_card with (security_invoker = true) as
  select c.id, c.name, c.plan, c.status, c.domain, c.logo_url, c.timezone, c.currency, c.email, c.phone, c.address, c.city,
    c.state, c.zip, c.created_at,
    (select count(*) from public.users u where u.company_id = c.id and not u.is_deleted)::int as user_count,
    c.subscription_status, c.trial_ends_at,
    case when c.subscription_status = 'trial' and c.trial_ends_at is not null
      then greatest(0, floor(extract(epoch from c.trial_ends_at - now()) / 86400))::int end as days_remaining,
    c.settings
  from public.companies c;

-- Takes back attempts that were counted, one in each bucket. In the order of the buckets, so that two do not wait for each other.
create function app.return_attempts(buckets text[]) returns void language sql security definer set search_path = pg_catalog, pg_temp
  begin atomic
    update app.rate_limits r set hits = r.hits - 1
    from (select l.bucket from app.rate_limits l where l.bucket = any ($1) and l.hits > 0 order by l.bucket for update) l
    where r.bucket = l.bucket;
  end;

-- Without a secret it fails: a key that is null would lock nothing.
create function app.lock_key(what text) returns bigint language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  known bytea;
begin
  select s.secret into strict known from ops.lock_secret s;
  return ('x' || encode(sha256(known || convert_to(what, 'UTF8')), 'hex'))::bit(64)::bigint;
end $$;

-- Two admins of a company who demote each other wait for each other.
create function app.lock_admins(company uuid) returns void language sql security definer set search_path = pg_catalog, pg_temp
  begin atomic
    select pg_advisory_xact_lock(app.lock_key('admins of ' || $1));
  end;
grant execute on function app.return_attempts(text[]), app.lock_admins(uuid) to ringfence_api;

-- As in V0002, with the lock of above.
create or replace function app.guard_user() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  me app.caller;
begin
  if current_user not in ('ringfence_api', 'ringfence_platform') then
    return new;
  end if;
  select * into me from app.caller c where c.user_id = app.user_id();
  if current_user = 'ringfence_api' then
    if (new.id is distinct from me.user_id or new.user_role is distinct from old.user_role or new.status is distinct from old.status)
       and not coalesce(app.is_team_admin(me.role), false) then
      raise sqlstate 'RF403' using message = 'Only an admin may change other users';
    end if;
    -- Otherwise the admin of the company that a super admin belongs to gets the platform by changing their address.
    if old.user_role = 'super_admin' and me.role is distinct from 'super_admin' then
      raise sqlstate 'RF403' using message = 'Only a super admin may change a super admin';
    end if;
  end if;
  if new.user_role = 'super_admin' and old.user_role <> 'super_admin' and me.role is distinct from 'super_admin' then
    raise sqlstate 'RF403' using message = 'Only a super admin can grant the super admin role';
  end if;
  if old.user_role = 'company_admin' and old.status = 'active' and not old.is_deleted and old.company_id is not null
     and (new.user_role <> 'company_admin' or new.status <> 'active' or new.is_deleted or new.company_id is distinct from old.company_id) then
    -- Two admins who demote each other at the same time must not both succeed.
    perform app.lock_admins(old.company_id);
    if not exists (select from public.users u where u.company_id = old.company_id and u.id <> old.id
                   and u.user_role = 'company_admin' and u.status = 'active' and u.is_active and not u.is_deleted)
       and (not new.is_deleted
            or exists (select from public.users u where u.company_id = old.company_id and u.id <> old.id and not u.is_deleted)) then
      raise sqlstate 'RF400' using message = 'The company needs at least one admin: make somebody else an admin first';
    end if;
  end if;
  return new;
end $$;

reset role;
alter function app.return_attempts(text[]) owner to ringfence_platform;
alter function app.lock_key(text) owner to ringfence_platform;
alter function app.lock_admins(uuid) owner to ringfence_platform;
insert into ops.lock_secret select sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()));

-- As in V0021, with a key that nobody else can make.
create or replace function app.lock_name(kind text, name text) returns void language plpgsql
  security definer set search_path = pg_catalog, pg_temp as $$
declare
  company uuid := case when pg_has_role(session_user, 'ringfence_api', 'member') or pg_has_role(session_user, 'ringfence_dba', 'member')
    then app.company_id() else app.operator_company() end;
begin
  perform pg_advisory_xact_lock(app.lock_key(format('%L %L %L', kind, company, name)));
end $$;

-- As in V0019, with such a key.
create or replace function app.fold_deal_sums(tenant uuid) returns void language plpgsql
  security definer set search_path = pg_catalog, pg_temp set row_security = on as $$
begin
  if not pg_try_advisory_xact_lock(app.lock_key('deal sums of ' || tenant)) then
    return;
  end if;
  with added as (
    delete from public.deal_sums s where s.tenant_id = tenant and not s.is_folded returning s.*
  )
  insert into public.deal_sums as f (tenant_id, company_id, owner_id, week, pipeline_id, stage_id, status, deals, value,
    stage_seconds, running, closed, closed_seconds, is_folded)
  select a.tenant_id, a.company_id, a.owner_id, a.week, a.pipeline_id, a.stage_id, a.status, sum(a.deals), sum(a.value),
    sum(a.stage_seconds), sum(a.running), sum(a.closed), sum(a.closed_seconds), true
  from added a group by 1, 2, 3, 4, 5, 6, 7
  on conflict (tenant_id, company_id, owner_id, week, pipeline_id, stage_id, status) where is_folded do update set
    deals = f.deals + excluded.deals, value = f.value + excluded.value, stage_seconds = f.stage_seconds + excluded.stage_seconds,
    running = f.running + excluded.running, closed = f.closed + excluded.closed, closed_seconds = f.closed_seconds + excluded.closed_seconds;
end $$;

-- As in V0044, but names nobody of another company.
create or replace function app.keep_audit_log() returns trigger language plpgsql
  security definer set search_path = pg_catalog, pg_temp set row_security = on as $$
declare
  was jsonb := case when tg_op <> 'INSERT' then to_jsonb(old) end;
  now_is jsonb := case when tg_op <> 'DELETE' then to_jsonb(new) end;
  changed jsonb := coalesce(now_is, was);
  -- What a person at psql has set says nothing: only the API's login speaks in somebody's name.
  is_api boolean := pg_catalog.pg_has_role(session_user, 'ringfence_api', 'member');
  request text := case when is_api then coalesce(current_setting('app.request_id', true), '') else '' end;
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
    app.without_other_company(kept_before, c.id), app.without_other_company(kept_after, c.id), case when is_api and not f.is_foreign then app.user_id() end,
    case when is_job then 'job' when not f.is_foreign then k.role end,
    nullif(session_user, 'ringfence_api'), nullif(case when is_job then substr(request, 5) else request end, '')
  from (select (case when tg_table_name = 'companies' then was ->> 'id' else was ->> 'company_id' end)::uuid where was is not null
    union select (case when tg_table_name = 'companies' then now_is ->> 'id' else now_is ->> 'company_id' end)::uuid where now_is is not null) c (id)
  left join app.caller k on is_api and k.user_id = app.user_id()
  -- Whoever joins a company with an account of another one's making is not that company's to name.
  cross join lateral (select not is_job and coalesce(k.company_id <> c.id and k.role <> 'super_admin', false) as is_foreign) f;
  return null;
end $$;
