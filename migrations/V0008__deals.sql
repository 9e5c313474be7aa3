-- Deals, the history of their stages, and the events that workflows wait for (contract: deals).
set role ringfence_owner;

-- A name that may be given once: the lock ends with the transaction, so that of two who give it at the same moment the
-- second one sees what the first one did. Which names count as taken is the caller's.
create function app.lock_name(kind text, name text) returns void language plpgsql as $$
begin
  perform pg_advisory_xact_lock(hashtextextended(concat_ws(' ', kind, app.company_id(), name), 0));
end $$;
grant execute on function app.lock_name(text, text) to ringfence_api;

-- What happened in somebody's name, for the workflows that wait for it; written by the transaction that makes it happen.
create table workflow_events (
  id         uuid primary key default app.uuid_v7(),
  tenant_id  uuid not null,
  company_id uuid,
  user_id    uuid not null,  -- who did it
  event      text not null check (event in ('deal_created', 'deal_stage_changed', 'deal_won', 'deal_lost', 'contact_created',
    'activity_completed', 'email_opened', 'document_signed', 'inbound_sms')),
  record_id  uuid,           -- the deal, contact, activity …
  details    jsonb not null default '{}',
  created_at timestamptz not null default clock_timestamp()  -- so that those of one transaction have an order
);
create index workflow_events_feed on workflow_events (tenant_id, created_at, id) include (company_id, user_id);
select app.protect('workflow_events', 'user_id');

-- An import or a correction by an administrator is in nobody's name and starts nothing.
create function app.fire(event text, record_id uuid, details jsonb) returns void language sql
  begin atomic
    insert into public.workflow_events (event, record_id, details)
    select $1, $2, $3 where app.company_id() is not null and app.user_id() is not null;
  end;
grant execute on function app.fire(text, uuid, jsonb) to ringfence_api;

create table deals (
  id                  uuid primary key default app.uuid_v7(),
  tenant_id           uuid not null,
  company_id          uuid,
  owner_id            uuid not null,
  title               text not null check (length(title) <= 255),
  description         text,
  value               numeric(15, 2) not null default 0 check (value <> 'NaN'),
  currency            varchar(3) not null default 'USD',
  pipeline_id         uuid not null,
  stage_id            uuid not null,
  stage_entered_at    timestamptz not null,
  status              text not null default 'open' check (status in ('open', 'won', 'lost', 'abandoned')),
  contact_id          uuid,
  company             text check (length(company) <= 255),  -- the client's, free text
  expected_close_date timestamptz,
  actual_close_date   timestamptz,
  probability         double precision check (probability between 0 and 100),  -- percent
  lost_reason         text check (length(lost_reason) <= 255),
  won_reason          text check (length(won_reason) <= 255),
  tags                jsonb not null default '[]' check (jsonb_typeof(tags) = 'array'),
  custom_fields       jsonb not null default '{}' check (jsonb_typeof(custom_fields) = 'object'),
  is_deleted          boolean not null default false,
  created_at          timestamptz not null default now(),
  updated_at          timestamptz not null default now(),
  search_text         text collate "C" generated always as (lower(title || ' ' || coalesce(company, ''))) stored,
  constraint deals_stage_fkey foreign key (tenant_id, pipeline_id, stage_id) references pipeline_stages (tenant_id, pipeline_id, id)
    deferrable initially immediate,
  constraint deals_contact_fkey foreign key (tenant_id, contact_id) references contacts (tenant_id, id)
    on delete set null (contact_id) deferrable initially immediate
);
create index deals_feed on deals (tenant_id, created_at, id) include (company_id, owner_id) where not is_deleted;
create index deals_stage on deals (tenant_id, stage_id, created_at, id) include (company_id, owner_id) where not is_deleted;
create index deals_contact on deals (tenant_id, contact_id);
create index deals_title on deals (tenant_id, owner_id, title) where not is_deleted;
select app.protect('deals', 'owner_id');

create table deal_stage_history (
  id            uuid primary key default app.uuid_v7(),
  tenant_id     uuid not null,
  company_id    uuid,
  user_id       uuid not null,  -- who moved it
  deal_id       uuid not null,
  from_stage_id uuid,           -- null when the deal was made
  to_stage_id   uuid not null,
  created_at    timestamptz not null default now(),
  constraint deal_stage_history_deal_fkey foreign key (tenant_id, deal_id) references deals (tenant_id, id)
    on delete cascade deferrable initially immediate
);
create index deal_stage_history_deal on deal_stage_history (tenant_id, deal_id, created_at, id) include (company_id, user_id);
select app.protect('deal_stage_history', 'user_id');

-- When a deal came into its stage and when it was closed, whoever changes it and by whichever way.
create function app.keep_deal_dates() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if tg_op = 'INSERT' then
    new.stage_entered_at := coalesce(new.stage_entered_at, new.created_at);
    if new.status in ('won', 'lost') then
      new.actual_close_date := coalesce(new.actual_close_date, now());
    end if;
    return new;
  end if;
  if new.stage_id <> old.stage_id then
    new.stage_entered_at := now();
  end if;
  if new.status <> old.status then
    new.actual_close_date := case when new.status in ('won', 'lost') then now() when new.status = 'open' then null
      else new.actual_close_date end;
  end if;
  return new;
end $$;
create trigger dates before insert or update on deals for each row execute function app.keep_deal_dates();

create function app.keep_deal_history() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  was public.deals;
begin
  if tg_op = 'UPDATE' then
    was := old;
  end if;
  if new.stage_id is distinct from was.stage_id then
    insert into public.deal_stage_history (tenant_id, company_id, user_id, deal_id, from_stage_id, to_stage_id, created_at)
    values (new.tenant_id, new.company_id, coalesce(app.user_id(), new.owner_id), new.id, was.stage_id, new.stage_id, new.stage_entered_at);
  end if;
  if tg_op = 'INSERT' then
    perform app.fire('deal_created', new.id, jsonb_build_object('stage_id', new.stage_id));
  elsif new.stage_id <> was.stage_id then
    perform app.fire('deal_stage_changed', new.id, jsonb_build_object('from_stage_id', was.stage_id, 'to_stage_id', new.stage_id));
  end if;
  if new.status in ('won', 'lost') and new.status is distinct from was.status then
    perform app.fire('deal_' || new.status, new.id, '{}');
  end if;
  return null;
end $$;
-- A historical deal belongs to no company yet, and new rows without one are not made.
create trigger history after insert or update of stage_id, status on deals for each row
  when (new.company_id is not null) execute function app.keep_deal_history();

-- A deal as the API shows it. Sub-selects and no joins, so that a list stays in the order of its index.
create view deal_card with (security_invoker = true) as
  select d.id, d.title, d.value::float8 as value, d.currency, d.stage_id,
    (select s.name from public.pipeline_stages s where s.id = d.stage_id) as stage_name, d.pipeline_id, d.company,
    (select concat_ws(' ', c.first_name, c.last_name) from public.contacts c where c.id = d.contact_id) as contact, d.contact_id,
    d.description, d.expected_close_date, d.actual_close_date, d.stage_entered_at, d.status, d.probability, d.lost_reason, d.won_reason,
    d.tags, d.custom_fields, d.owner_id, d.created_at, d.updated_at, d.is_deleted
  from public.deals d;
grant select on deal_card to ringfence_api, ringfence_operator;

-- The pipeline of a new deal: the given one, or the first of the company's list.
create function app.deal_pipeline(given uuid) returns uuid language plpgsql stable as $$
declare
  found_id uuid;
begin
  if given is not null then
    return app.found('Pipeline', given, (select p.id from public.pipelines p where p.id = given and not p.is_deleted));
  end if;
  select p.id into found_id from public.pipelines p where not p.is_deleted
  order by p.is_default desc, p.order_index, p.created_at, p.id limit 1;
  if found_id is null then
    raise sqlstate 'RF400' using message = 'The company has no pipeline: create one first';
  end if;
  return found_id;
end $$;

-- A stage of this pipeline, by its id or else by its name; null when neither is given. The lock keeps the stage from
-- being deleted before the deal is in it.
create function app.deal_stage(pipeline_id uuid, stage_id uuid, stage_name text) returns uuid language plpgsql as $$
#variable_conflict use_column
declare
  s public.pipeline_stages;
begin
  if $2 is not null then
    select x.* into s from public.pipeline_stages x where x.id = $2 and not x.is_deleted for key share;
    if s.id is null then
      raise sqlstate 'RF404' using message = 'Stage';
    elsif s.pipeline_id <> $1 then
      raise sqlstate 'RF400' using message = 'The stage belongs to another pipeline';
    end if;
  elsif $3 is not null then
    select x.* into s from public.pipeline_stages x where x.pipeline_id = $1 and x.name = $3 and not x.is_deleted
    order by x.order_index, x.created_at, x.id limit 1 for key share;
    if s.id is null then
      raise sqlstate 'RF400' using message = 'Stage not found in the pipeline';
    end if;
  end if;
  return s.id;
end $$;

-- Deletes a stage in which no deals are; null when there is no such stage. The lock waits for deals on their way in, and
-- what is counted after it includes them.
create function app.delete_stage(stage_id uuid) returns uuid language plpgsql as $$
declare
  held bigint;
begin
  perform from public.pipeline_stages s where s.id = $1 and not s.is_deleted for update;
  if not found then
    return null;
  end if;
  select count(*) into held from public.deals d where d.stage_id = $1 and not d.is_deleted;
  if held > 0 then
    raise sqlstate 'RF400' using message = format('The stage cannot be deleted: %s deals are in it', held);
  end if;
  update public.pipeline_stages s set is_deleted = true, updated_at = now() where s.id = $1;
  return $1;
end $$;

-- The same for a pipeline.
create function app.delete_pipeline(pipeline_id uuid) returns uuid language plpgsql as $$
declare
  held bigint;
begin
  perform from public.pipelines p where p.id = $1 and not p.is_deleted for update;
  if not found then
    return null;
  end if;
  perform from public.pipeline_stages s where s.pipeline_id = $1 order by s.id for update;
  select count(*) into held from public.deals d
  where d.stage_id in (select s.id from public.pipeline_stages s where s.pipeline_id = $1) and not d.is_deleted;
  if held > 0 then
    raise sqlstate 'RF400' using message = format('The pipeline cannot be deleted: %s deals are in it', held);
  end if;
  update public.pipelines p set is_deleted = true, updated_at = now() where p.id = $1;
  return $1;
end $$;
grant execute on function app.deal_pipeline(uuid), app.deal_stage(uuid, uuid, text), app.delete_stage(uuid), app.delete_pipeline(uuid)
  to ringfence_api;

-- A title is used once by an owner (contract: deals). Only a new deal is held to it.
create function app.new_deal_title(title text) returns text language plpgsql as $$
begin
  perform app.lock_name('deal', concat_ws(' ', app.user_id(), title));
  if exists (select from public.deals d where d.owner_id = app.user_id() and d.title = $1 and not d.is_deleted) then
    raise sqlstate 'RF400' using message = 'A deal with this title already exists';
  end if;
  return title;
end $$;
grant execute on function app.new_deal_title(text) to ringfence_api;

reset role;
