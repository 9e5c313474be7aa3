-- What another transaction does between two looks at the same thing, and who may hold up everybody.
set role ringfence_owner;

-- Deleting is the right to lock a table for every company, so operators have it nowhere: what their changes make superfluous
-- is taken back by triggers of the platform's.
create or replace function app.open_to_operators(target regclass) returns void language plpgsql as $$
declare
  rule text := 'tenant_id = (select app.operator_company()) and company_id is not null';
begin
  execute format('create policy operator on %s to ringfence_operator, ringfence_operator_limited using (%s) with check (%s)', target, rule, rule);
  execute format('grant select on %s to ringfence_operator', target);
  -- An invitation makes a login of the API, the key of a mail hook speaks for the provider, and the rest is done or sent in a
  -- member's name.
  if target <> all (array['public.invitations', 'public.mail_hooks', 'public.workflows', 'public.workflow_events', 'public.workflow_executions',
      'public.workflow_steps', 'public.scheduled_sms', 'public.campaigns', 'public.campaign_recipients']::regclass[]) then
    execute format('grant insert (id, tenant_id, company_id, %s), update (%1$s) on %s to ringfence_operator_write', app.writable_columns(target), target);
  end if;
end $$;
revoke delete on jobs from ringfence_operator_write;

-- The job of this kind that a row asked for.
create function app.drop_job() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp set row_security = on as $$
begin
  delete from public.jobs j where j.tenant_id = new.tenant_id and j.kind = tg_argv[0] and j.record_id = new.id;
  return null;
end $$;
create or replace function app.follow_activity() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  was public.activities;
begin
  if tg_op = 'UPDATE' then
    was := old;
  end if;
  if new.status = 'completed' and was.status is distinct from 'completed' then
    perform app.fire('activity_completed', new.id, '{}');
  end if;
  if new.status in ('pending', 'overdue') and isfinite(new.due_date) and new.due_date >= now() - interval '1 day'
     and (new.due_date is distinct from was.due_date or was.status not in ('pending', 'overdue')) then
    insert into public.jobs as j (tenant_id, company_id, user_id, kind, record_id, run_at)
    values (new.tenant_id, new.company_id, new.owner_id, 'activity_due', new.id, new.due_date)
    on conflict on constraint jobs_record_key do update set run_at = excluded.run_at, attempts = 0, failed_at = null, last_error = null;
  end if;
  return null;
end $$;
create trigger forget_reminder after update of due_date, status on activities for each row
  when (new.company_id is not null
    and (new.status not in ('pending', 'overdue') or isfinite(new.due_date) is not true or new.due_date < now() - interval '1 day'))
  execute function app.drop_job('activity_due');

create or replace trigger answered after update of status on sms_messages for each row
  when (old.status = 'queued' and new.status <> 'queued' and new.company_id is not null) execute function app.drop_job('unanswered');
create or replace trigger answered after update of twilio_sid, status on calls for each row
  when (old.twilio_sid is null and (new.twilio_sid is not null or new.status <> 'initiated') and new.company_id is not null)
  execute function app.drop_job('unanswered');
create or replace trigger answered after update of is_sending on emails for each row
  when (old.is_sending and not new.is_sending and new.company_id is not null) execute function app.drop_job('unanswered');

-- The given pipeline, or the company's default. A company's deal goes into a pipeline of the company: one from before there
-- were companies is its user's only, and the deal would be on nobody else's board.
create function app.deal_pipeline(given uuid, is_historical boolean) returns uuid language plpgsql stable as $$
declare
  found_id uuid;
begin
  if given is not null then
    return app.found('Pipeline', given, (select p.id from public.pipelines p where p.id = given and not p.is_deleted
      and (p.company_id is not null or is_historical)));
  end if;
  select p.id into found_id from public.pipelines p where not p.is_deleted and (p.company_id is not null or is_historical)
  order by p.company_id is null, p.is_default desc, p.order_index, p.created_at, p.id limit 1;
  if found_id is null then
    raise sqlstate 'RF400' using message = 'The company has no pipeline: create one first';
  end if;
  return found_id;
end $$;
create or replace function app.deal_pipeline(given uuid) returns uuid language sql stable
  return app.deal_pipeline(given, app.company_id() is null);
grant execute on function app.deal_pipeline(uuid, boolean) to ringfence_api;

-- Whoever deletes the pipeline holds its stages, so it is looked at when the stage is held.
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
  if exists (select from public.pipelines p where p.id = $1 and p.is_deleted) then
    raise sqlstate 'RF404' using message = 'Pipeline';
  end if;
  return s.id;
end $$;

-- Each event starts all that wait for it, in the transaction that made it happen.
create or replace function app.limit_workflows() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if current_user = 'ringfence_api' then
    perform app.lock_name('active workflows', new.trigger);
  end if;
  if (select count(*) from public.workflows w where w.tenant_id = new.tenant_id and w.trigger = new.trigger and w.status = 'active'
      and not w.is_deleted and w.company_id is not null and w.id <> new.id) >= 100 then
    raise sqlstate 'RF400' using message = 'A company has at most 100 active workflows with the same trigger';
  end if;
  return new;
end $$;

-- The caller's new password, unless theirs is another one than was verified by now; every token they hold ends.
create function app.change_my_password(new_hash text, verified text) returns boolean language sql
  security definer set search_path = pg_catalog, pg_temp
  begin atomic
    with changed as (
      update app.credentials k set password_hash = $1, reset_code_hash = null
      where k.user_id = app.user_id() and k.password_hash = $2 returning k.user_id
    ), ended as (
      update public.users u set token_version = u.token_version + 1 from changed where u.id = changed.user_id
    )
    select exists (select from changed);
  end;
grant execute on function app.change_my_password(text, text) to ringfence_api;

-- Somebody who leaves, or has another address, does not come back by an invitation that was sent to them before.
create function app.end_invitations() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp set row_security = on as $$
begin
  update public.invitations i set expires_at = now()
  where i.tenant_id = old.company_id and i.email = old.email and i.accepted_at is null and i.expires_at > now();
  return null;
end $$;
create trigger end_invitations after update of email, is_deleted on users for each row
  when (old.company_id is not null and (new.email <> old.email or new.is_deleted and not old.is_deleted))
  execute function app.end_invitations();
grant update (expires_at) on invitations to ringfence_platform;
grant delete on jobs to ringfence_platform;
reset role;

alter function app.drop_job() owner to ringfence_platform;
alter function app.change_my_password(text, text) owner to ringfence_platform;
alter function app.end_invitations() owner to ringfence_platform;

-- Keeps app.caller: everybody active is in it, and nobody else.
create or replace function app.keep_caller() returns trigger language plpgsql
  security definer set search_path = pg_catalog, pg_temp set row_security = on as $$
begin
  if tg_table_name = 'companies' then
    update app.caller set blocked = app.is_blocked(new.status, new.subscription_status) where company_id = new.id;
    return null;
  end if;
  if tg_op <> 'DELETE' then
    -- Before the row of app.caller, which whoever changes the company takes after it. The lock keeps a company that is being
    -- suspended right now from being missed.
    perform from public.companies where id = new.company_id for share;
  end if;
  delete from app.caller where user_id = coalesce(new.id, old.id);
  if tg_op = 'DELETE' then
    return null;
  end if;
  if new.is_deleted then
    delete from app.credentials where user_id = new.id;
  elsif new.is_active and new.status = 'active' then
    insert into app.caller (user_id, company_id, role, token_version, blocked)
    select new.id, new.company_id, new.user_role, new.token_version, coalesce(
      (select app.is_blocked(c.status, c.subscription_status) from public.companies c where c.id = new.company_id), false);
  end if;
  return null;
end $$;

create or replace trigger b_caller after update of status, subscription_status on companies for each row
  when ((old.status, old.subscription_status) is distinct from (new.status, new.subscription_status))
  execute function app.keep_caller();

-- An account somebody makes for themselves, or an admin makes for a colleague. What the caller may give away is decided
-- here, from app.caller: a stranger gets no admin label, and with a company no access until an admin approves.
create or replace function app.register_user(email text, password_hash text, first_name text, last_name text, user_role text, company_id uuid)
  returns app.account language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  me app.caller;
  is_admin boolean;
  result app.account;
begin
  -- The last admin may leave when nobody else is there, and must not do so while somebody comes.
  if $6 is not null then
    perform app.lock_admins($6);
  end if;
  select * into me from app.caller c where c.user_id = app.user_id() and not c.blocked;
  if app.user_id() is not null and me.user_id is null then
    raise sqlstate 'RF403' using message = 'Your account has changed: log in again';
  end if;
  is_admin := coalesce(me.role = 'super_admin' or (me.role = 'company_admin' and me.company_id = $6), false);
  if $5 = 'super_admin' and me.user_id is not null and me.role <> 'super_admin' then
    raise sqlstate 'RF403' using message = 'Only a super admin can grant the super admin role';
  end if;
  if $6 is not null and not exists (select from public.companies c where c.id = $6) then
    raise sqlstate 'RF400' using message = 'Unknown company';
  end if;
  if not is_admin and lower(replace($5, ' ', '_')) in ('super_admin', 'company_admin', 'admin') then
    user_role := 'Regular User';
  end if;
  result := app.add_user($1, $2, $3, $4, user_role, $6, case when is_admin or $6 is null then 'active' else 'pending' end);
  return result;
end $$;

-- Turns an invitation into an account, once, and ends the others that the company has sent there. No row when the token is
-- unknown, used or expired.
create or replace function app.accept_invitation(token_hash bytea, password_hash text) returns setof app.account language plpgsql
  security definer set search_path = pg_catalog, pg_temp as $$
declare
  i public.invitations;
begin
  perform app.lock_admins(v.tenant_id) from public.invitations v where v.token_hash = $1;
  update public.invitations v set accepted_at = now()
  where v.token_hash = $1 and v.accepted_at is null and v.expires_at > now() and app.may_invite(v.user_id, v.tenant_id)
  returning * into i;
  if found then
    update public.invitations v set expires_at = now()
    where v.tenant_id = i.tenant_id and v.email = i.email and v.accepted_at is null and v.expires_at > now();
    return next app.add_user(i.email, $2, i.first_name, i.last_name, i.user_role, i.tenant_id, 'active');
  end if;
end $$;
