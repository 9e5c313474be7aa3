-- Workflows: what starts them, their runs, and the steps of each run (contract: workflows).
set role ringfence_owner;

create table workflows (
  id               uuid primary key default app.uuid_v7(),
  tenant_id        uuid not null,
  company_id       uuid,
  owner_id         uuid not null,  -- in whose name it runs
  name             text not null check (length(name) between 1 and 255),
  description      text,
  status           text not null default 'inactive' check (status in ('active', 'inactive', 'paused')),
  trigger          text not null default 'scheduled' check (trigger in ('deal_created', 'deal_stage_changed', 'deal_won', 'deal_lost',
    'contact_created', 'activity_completed', 'email_opened', 'document_signed', 'inbound_sms', 'scheduled')),
  conditions       jsonb not null default '[]' check (jsonb_typeof(conditions) = 'array'),
  actions          jsonb not null default '[]' check (jsonb_typeof(actions) = 'array'),
  schedule         jsonb check (jsonb_typeof(schedule) = 'object'),  -- every hour when null
  next_run_at      timestamptz,  -- of a schedule that is told by the clock
  max_executions   int check (max_executions > 0),
  execution_count  int not null default 0,
  last_executed_at timestamptz,
  is_deleted       boolean not null default false,
  created_at       timestamptz not null default now(),
  updated_at       timestamptz not null default now()
);
create index workflows_feed on workflows (tenant_id, created_at desc, id desc) include (company_id, owner_id) where not is_deleted;
create unique index workflows_tenant_name_key on workflows (tenant_id, lower(name)) where not is_deleted and company_id is not null;
create index workflows_listening on workflows (tenant_id, trigger) where status = 'active' and not is_deleted and company_id is not null;
select app.protect('workflows', 'owner_id');

-- As the wire has it.
create view workflow_card with (security_invoker = true) as
  select id, name, description, status, trigger, jsonb_array_length(actions) as actions_count, execution_count as executions_count,
    last_executed_at as last_run, created_at, actions, conditions, schedule, max_executions, next_run_at as next_run, owner_id, is_deleted
  from workflows;
grant select on workflow_card to ringfence_api, ringfence_operator;

-- One run of a workflow. It is also what the queue works on: `next_step` says how far it is.
create table workflow_executions (
  id            uuid primary key default app.uuid_v7(),
  tenant_id     uuid not null,
  company_id    uuid,
  user_id       uuid not null,  -- the workflow's owner
  workflow_id   uuid not null,
  event_id      uuid,           -- null when it was started by hand or by the clock
  event         text not null check (event in ('deal_created', 'deal_stage_changed', 'deal_won', 'deal_lost', 'contact_created',
    'activity_completed', 'email_opened', 'document_signed', 'inbound_sms', 'scheduled')),
  record_id     uuid,
  trigger_data  jsonb not null default '{}',
  is_manual     boolean not null default false,
  depth         int not null default 0,  -- how many runs led to it
  root_id       uuid,           -- the first event that led to it, or the run by hand or by the clock
  status        text not null default 'running' check (status in ('running', 'success', 'partial', 'failed')),
  actions       jsonb,          -- as they were when it began; null before
  next_step     int not null default 0,
  success_count int not null default 0,
  failure_count int not null default 0,
  error_message text check (length(error_message) <= 500),
  error_count   int not null default 0,  -- how often the engine itself failed
  started_at    timestamptz not null default now(),
  completed_at  timestamptz,
  created_at    timestamptz not null default now(),
  -- However often an event is looked at, it starts a workflow once.
  constraint workflow_executions_event_key unique (tenant_id, event_id, workflow_id),
  constraint workflow_executions_workflow_fkey foreign key (tenant_id, workflow_id) references workflows (tenant_id, id)
    on delete cascade deferrable initially immediate,
  constraint workflow_executions_event_fkey foreign key (tenant_id, event_id) references workflow_events (tenant_id, id)
    on delete set null (event_id) deferrable initially immediate
) with (fillfactor = 70);  -- a row changes several times
create index workflow_executions_feed on workflow_executions (tenant_id, workflow_id, created_at desc, id desc) include (company_id, user_id);
create index workflow_executions_root on workflow_executions (tenant_id, root_id) where root_id is not null;
select app.protect('workflow_executions', 'user_id');

create table workflow_steps (
  id            uuid primary key default app.uuid_v7(),
  tenant_id     uuid not null,
  company_id    uuid,
  user_id       uuid not null,
  execution_id  uuid not null,
  position      int not null,   -- from 0
  action        text not null,
  status        text not null check (status in ('running', 'waiting', 'retrying', 'success', 'failed', 'skipped')),
  attempts      int not null default 0,
  input         jsonb not null default '{}',
  result        jsonb not null default '{}',
  error_message text check (length(error_message) <= 500),
  made_in       xid8 not null default pg_current_xact_id(),  -- what happens in this transaction is its doing
  started_at    timestamptz not null default now(),
  completed_at  timestamptz,
  constraint workflow_steps_position_key unique (tenant_id, execution_id, position),
  constraint workflow_steps_execution_fkey foreign key (tenant_id, execution_id) references workflow_executions (tenant_id, id)
    on delete cascade deferrable initially immediate
) with (fillfactor = 80);
create index workflow_steps_made_in on workflow_steps (tenant_id, made_in);
select app.protect('workflow_steps', 'user_id');

-- The kind of record that an event is about.
create function app.record_kind(event text) returns text language sql immutable parallel safe
  return case when event in ('deal_created', 'deal_stage_changed', 'deal_won', 'deal_lost') then 'deal'
    when event in ('contact_created', 'document_signed') then 'contact' when event = 'activity_completed' then 'activity'
    when event = 'email_opened' then 'email' when event = 'inbound_sms' then 'message' end;

alter table workflow_events add column depth int not null default 0;

-- What happened to these records in the caller's name, for all active workflows of the company that wait for it: the events,
-- a run for each workflow and the job of each run, in the transaction that made it happen. Where nobody listens nothing is
-- written. What the step of a run does is one deeper than its run. Too deep, or one of too many that a single event led to,
-- and the run is failed instead of started: workflows cannot start each other forever, nor many for each.
create function app.fire_all(event text, record_ids uuid[], details jsonb[]) returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
  deep int;
  root uuid;
  stopped text;
begin
  if not exists (select from public.workflows w
      where w.tenant_id = app.company_id() and w.trigger = $1 and w.status = 'active' and not w.is_deleted and w.company_id is not null) then
    return;
  end if;
  select x.depth + 1, coalesce(x.root_id, x.id) into deep, root
  from public.workflow_steps s join public.workflow_executions x on x.id = s.execution_id
  where s.tenant_id = app.company_id() and s.made_in = pg_current_xact_id_if_assigned()
  order by x.depth desc limit 1;
  deep := coalesce(deep, 0);
  stopped := case when deep > 5 then 'Stopped: workflows have started each other more than 5 times in a row'
    when (select count(*) from (select from public.workflow_executions x where x.tenant_id = app.company_id() and x.root_id = root limit 1000) led) = 1000
    then 'Stopped: one event has led to more than 1000 runs' end;
  with event as (
    insert into public.workflow_events (event, record_id, details, depth)
    select $1, r.record_id, r.details, deep from unnest($2, $3) as r (record_id, details)
    returning id, record_id, details
  ), run as (
    insert into public.workflow_executions (user_id, workflow_id, event_id, event, record_id, trigger_data, depth, root_id, status, error_message,
      completed_at)
    select w.owner_id, w.id, e.id, $1, e.record_id,
      jsonb_build_object('event', $1, 'record_id', e.record_id, app.record_kind($1) || '_id', e.record_id) || e.details, deep,
      coalesce(root, e.id), case when stopped is null then 'running' else 'failed' end, stopped, case when stopped is not null then now() end
    from event e, public.workflows w
    where w.tenant_id = app.company_id() and w.trigger = $1 and w.status = 'active' and not w.is_deleted and w.company_id is not null
    returning id, user_id, status
  )
  insert into public.jobs (user_id, kind, record_id) select r.user_id, 'workflow_run', r.id from run r where r.status = 'running';
end $$;

-- The same for one record. An import or a correction by an administrator is in nobody's name and starts nothing.
create or replace function app.fire(event text, record_id uuid, details jsonb) returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if app.company_id() is not null and app.user_id() is not null then
    perform app.fire_all($1, array[$2], array[$3]);
  end if;
end $$;

-- Contacts come one by one and in thousands, so they are told of by the statement.
create function app.fire_contacts() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if app.company_id() is not null and app.user_id() is not null then
    perform app.fire_all('contact_created', array_agg(a.id order by a.id), array_agg('{}'::jsonb)) from added a having count(*) > 0;
  end if;
  return null;
end $$;
create trigger fire after insert on contacts referencing new table as added for each statement execute function app.fire_contacts();

create function app.fire_message() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  perform app.fire('inbound_sms', new.id, jsonb_build_object('from', new.from_address, 'to', new.to_address, 'body', left(new.body, 1600)));
  return null;
end $$;
create trigger fire after insert on sms_messages for each row
  when (new.company_id is not null and new.direction = 'inbound') execute function app.fire_message();

-- Each event starts all that wait for it, in the transaction that made it happen.
create function app.limit_workflows() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if (select count(*) from public.workflows w where w.tenant_id = new.tenant_id and w.trigger = new.trigger and w.status = 'active'
      and not w.is_deleted and w.company_id is not null and w.id <> new.id) >= 100 then
    raise sqlstate 'RF400' using message = 'A company has at most 100 active workflows with the same trigger';
  end if;
  return new;
end $$;
create trigger limit_active before insert or update of trigger, status, is_deleted on workflows for each row
  when (new.company_id is not null and new.status = 'active' and not new.is_deleted) execute function app.limit_workflows();

-- An active workflow that runs by the clock has a job, and no other has one. The job knows when it is due: a change only
-- wakes it.
create function app.keep_schedule() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if new.schedule is distinct from old.schedule or new.trigger <> old.trigger or new.status <> old.status then
    new.next_run_at := null;
  end if;
  return new;
end $$;
create trigger schedule before update of schedule, trigger, status on workflows for each row execute function app.keep_schedule();

create function app.follow_workflow() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if new.trigger = 'scheduled' and new.status = 'active' and not new.is_deleted then
    insert into public.jobs as j (tenant_id, company_id, user_id, kind, record_id)
    values (new.tenant_id, new.company_id, new.owner_id, 'workflow_schedule', new.id)
    on conflict on constraint jobs_record_key do update set run_at = now(), attempts = 0, failed_at = null, last_error = null;
  else
    delete from public.jobs j where j.tenant_id = new.tenant_id and j.kind = 'workflow_schedule' and j.record_id = new.id;
  end if;
  return null;
end $$;
create trigger follow after insert or update of schedule, trigger, status, is_deleted on workflows for each row
  when (new.company_id is not null) execute function app.follow_workflow();

-- What the templates and conditions of a run may name, besides the data of its trigger.
create function app.workflow_context(event text, record_id uuid) returns jsonb language plpgsql stable set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
  of_kind text := app.record_kind($1);
  it jsonb;
  deal jsonb;
  contact_id uuid;
  contact jsonb;
begin
  if of_kind = 'deal' then
    select to_jsonb(d) into it from (select id, title, value, currency, stage_id, stage_name, pipeline_id, company, contact_id, description,
      expected_close_date, actual_close_date, status, probability, lost_reason, won_reason, tags, owner_id, created_at
      from public.deal_card where id = $2 and not is_deleted) d;
  elsif of_kind = 'contact' then
    contact_id := $2;
  elsif of_kind = 'activity' then
    select to_jsonb(a) into it from (select id, type, subject, description, status, due_date, completed_at, priority, contact_id, deal_id,
      location, outcome, owner_id, created_at from public.activities where id = $2) a;
  elsif of_kind = 'email' then
    select to_jsonb(e) into it from (select id, direction, status, from_email, to_email, subject, contact_id, sent_at, created_at
      from public.emails where id = $2 and not is_deleted) e;
  elsif of_kind = 'message' then
    select to_jsonb(m) into it from (select id, direction, status, from_address, to_address, body, contact_id, created_at
      from public.sms_messages where id = $2) m;
  end if;
  if of_kind = 'activity' then
    select to_jsonb(d) into deal from (select id, title, value, currency, stage_id, stage_name, pipeline_id, company, contact_id, description,
      expected_close_date, status, probability, tags, owner_id, created_at
      from public.deal_card where id = (it ->> 'deal_id')::uuid and not is_deleted) d;
  end if;
  contact_id := coalesce(contact_id, (it ->> 'contact_id')::uuid, (deal ->> 'contact_id')::uuid);
  select to_jsonb(c) into contact from (select id, first_name, last_name, concat_ws(' ', first_name, last_name) as name, email, phone, company,
    title, type, status, owner_id, created_at from public.contacts where id = contact_id and not is_deleted) c;
  return jsonb_build_object('deal', deal, 'contact', contact, 'record', case of_kind when 'contact' then contact else it end,
      'company', (select jsonb_build_object('id', c.id, 'name', c.name, 'email', c.email, 'phone', c.phone, 'timezone', c.timezone,
        'currency', c.currency) from public.companies c where c.id = app.company_id()),
      'user', (select jsonb_build_object('id', u.id, 'first_name', u.first_name, 'last_name', u.last_name, 'email', u.email, 'phone', u.phone,
        'title', u.title) from public.users u where u.id = app.user_id()))
    || case when of_kind is not null and of_kind <> 'contact' then jsonb_build_object(of_kind, it) else '{}' end;
end $$;

grant execute on function app.record_kind(text) to ringfence_api, ringfence_dba;
grant execute on function app.fire_all(text, uuid[], jsonb[]), app.workflow_context(text, uuid) to ringfence_api;
grant execute on function app.fire(text, uuid, jsonb) to ringfence_dba;

reset role;
