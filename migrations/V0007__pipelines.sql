-- Pipelines and their stages (contract: pipelines), and the default pipeline that every company has.
set role ringfence_owner;

create table pipelines (
  id          uuid primary key default app.uuid_v7(),
  tenant_id   uuid not null,
  company_id  uuid,
  owner_id    uuid not null,
  name        text not null check (length(name) <= 255),
  description text check (length(description) <= 500),
  is_default  boolean not null default false,
  order_index int not null default 0,
  is_active   boolean not null default true,
  is_deleted  boolean not null default false,
  created_at  timestamptz not null default now(),
  updated_at  timestamptz not null default now()
);
create index pipelines_feed on pipelines (tenant_id, is_default desc, order_index, created_at, id) include (company_id, owner_id)
  where not is_deleted;
create unique index pipelines_tenant_default_key on pipelines (tenant_id) where is_default and not is_deleted and company_id is not null;
select app.protect('pipelines', 'owner_id');

create table pipeline_stages (
  id          uuid primary key default app.uuid_v7(),
  tenant_id   uuid not null,
  company_id  uuid,
  owner_id    uuid not null,
  pipeline_id uuid not null,
  name        text not null check (length(name) <= 255),
  description text check (length(description) <= 500),
  order_index int not null default 0,
  probability double precision not null default 0 check (probability between 0 and 100),  -- percent
  is_closed   boolean not null default false,
  is_won      boolean not null default false,
  is_active   boolean not null default true,
  is_deleted  boolean not null default false,
  created_at  timestamptz not null default now(),
  updated_at  timestamptz not null default now(),
  constraint pipeline_stages_pipeline_fkey foreign key (tenant_id, pipeline_id) references pipelines (tenant_id, id)
    on delete cascade deferrable initially immediate,
  -- What a deal's stage and pipeline together refer to: so a deal cannot be in a stage of another pipeline.
  constraint pipeline_stages_pipeline_key unique (tenant_id, pipeline_id, id)
);
create index pipeline_stages_order on pipeline_stages (tenant_id, pipeline_id, order_index, created_at, id)
  include (company_id, owner_id) where not is_deleted;
select app.protect('pipeline_stages', 'owner_id');

-- A company has one default pipeline: making another one the default ends the former.
create function app.keep_one_default() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  update public.pipelines p set is_default = false, updated_at = now()
  where p.tenant_id = new.tenant_id and p.is_default and p.id <> new.id and p.company_id is not null;
  return new;
end $$;
create trigger one_default before insert or update of is_default on pipelines for each row
  when (new.is_default and not new.is_deleted and new.company_id is not null) execute function app.keep_one_default();

-- The pipeline with which a company starts (contract: registration); nothing when it has one.
create function app.add_default_pipeline(company_id uuid, owner_id uuid) returns void language sql
  begin atomic
    with pipeline as (
      insert into public.pipelines (tenant_id, company_id, owner_id, name, is_default)
      select $1, $1, $2, 'Sales Pipeline', true
      where not exists (select from public.pipelines p where p.tenant_id = $1 and p.company_id is not null)
      on conflict do nothing
      returning id
    )
    insert into public.pipeline_stages (tenant_id, company_id, owner_id, pipeline_id, name, order_index, probability, is_closed, is_won)
    select $1, $1, $2, pipeline.id, s.name, s.place, s.probability, s.probability in (0, 100), s.probability = 100
    from pipeline, (values ('Lead', 0, 10), ('Qualified', 1, 25), ('Proposal', 2, 50), ('Negotiation', 3, 75),
      ('Closed Won', 4, 100), ('Closed Lost', 5, 0)) as s (name, place, probability);
  end;
grant execute on function app.add_default_pipeline(uuid, uuid) to ringfence_platform;
grant select, insert, update (is_default, updated_at) on pipelines to ringfence_platform;
grant select, insert on pipeline_stages to ringfence_platform;

-- A pipeline belongs to somebody, so it comes with the company's first member.
create function app.keep_default_pipeline() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if exists (select from public.companies c where c.id = new.tenant_id) then
    perform app.add_default_pipeline(new.tenant_id, new.user_id);
  end if;
  return null;
end $$;
create trigger default_pipeline after insert on members for each row execute function app.keep_default_pipeline();

reset role;
alter function app.keep_default_pipeline() owner to ringfence_platform;

-- The companies that exist; as the role that sees all of them, which an administrator need not be.
set role ringfence_platform;
select app.add_default_pipeline(m.tenant_id, min(m.user_id::text)::uuid)
from public.members m join public.companies c on c.id = m.tenant_id group by m.tenant_id;
reset role;
