-- Who is who: companies, users, the pairs of both that ever held, and what the request path reads about a caller.
set role ringfence_owner;

create table companies (
  id                  uuid primary key default app.uuid_v7(),
  name                text not null constraint companies_name_key unique check (length(name) between 1 and 255),
  plan                text not null default 'free' check (plan in ('free', 'pro', 'enterprise')),
  status              text not null default 'active' check (status in ('active', 'suspended', 'pending')),
  subscription_status text not null default 'active' check (subscription_status in ('trial', 'active', 'expired', 'suspended', 'cancelled')),
  trial_ends_at       timestamptz,
  monthly_price       bigint not null default 0,  -- minor units
  domain              text constraint companies_domain_key unique,
  logo_url            text,
  timezone            text not null default 'UTC',
  currency            text not null default 'USD',
  email               text,
  phone               text,
  address             text,
  city                text,
  state               text,
  zip                 text,
  settings            jsonb not null default '{}' check (jsonb_typeof(settings) = 'object'),
  created_at          timestamptz not null default now(),
  updated_at          timestamptz not null default now()
);

create table users (
  id            uuid primary key default app.uuid_v7(),
  company_id    uuid references companies,
  email         text not null check (email = lower(email)),
  first_name    text not null,
  last_name     text not null,
  user_role     text not null default 'Regular User',
  status        text not null default 'active' check (status in ('active', 'suspended', 'pending')),
  phone         text,
  title         text,
  department    text,
  location      text,
  bio           text,
  avatar        text,
  team_id       uuid,
  token_version int not null default 1,
  last_login    timestamptz,
  is_active     boolean not null default true,
  is_deleted    boolean not null default false,
  created_at    timestamptz not null default now(),
  updated_at    timestamptz not null default now()
);
create unique index users_email_key on users (email) where not is_deleted;
create index users_company on users (company_id, created_at, id);

-- Every pair of tenant and user that ever held (the tenant is the user's own id before the first company). Rows are not
-- deleted when a user moves or leaves, so that the owner's key of old rows keeps its target.
create table members (
  tenant_id uuid not null,
  user_id   uuid not null references users,
  primary key (tenant_id, user_id)
);

-- What the API must be able to check and never to read.
create table app.credentials (
  user_id          uuid primary key references users on delete cascade,
  password_hash    text not null,
  reset_code_hash  bytea,
  reset_expires_at timestamptz,
  reset_attempts   smallint not null default 0
);

-- One narrow row for each user who may come in; read at the start of every transaction.
create table app.caller (
  user_id       uuid primary key,
  company_id    uuid,
  role          text not null,
  token_version int not null,
  blocked       boolean not null
);

alter table companies enable row level security, force row level security;
alter table users enable row level security, force row level security;
alter table members enable row level security, force row level security;
alter table app.credentials enable row level security, force row level security;

create policy own on companies to ringfence_api using (id = (select app.company_id())) with check (id = (select app.company_id()));
create policy colleagues on users to ringfence_api
  using (company_id = (select app.company_id()) or id = (select app.user_id()))
  with check (company_id = (select app.company_id()) or id = (select app.user_id()));
create policy own on members to ringfence_api using (tenant_id = (select app.company_id())) with check (tenant_id = (select app.company_id()));
create policy operator on companies for select to ringfence_operator using (id = (select app.operator_company()));
create policy operator on users for select to ringfence_operator using (company_id = (select app.operator_company()));
create policy operator on members for select to ringfence_operator using (tenant_id = (select app.operator_company()));
create policy platform on companies to ringfence_platform using (true) with check (true);
create policy platform on users to ringfence_platform using (true) with check (true);
create policy platform on members to ringfence_platform using (true) with check (true);
create policy platform on app.credentials to ringfence_platform using (true) with check (true);

grant select, update (name, domain, logo_url, timezone, currency, email, phone, address, city, state, zip, settings, updated_at)
  on companies to ringfence_api;
grant select, update (email, first_name, last_name, user_role, status, phone, title, department, location, bio, avatar,
    token_version, is_deleted, updated_at)
  on users to ringfence_api;
grant select on members to ringfence_api;
grant select on app.caller to ringfence_api;
grant select on companies, users, members to ringfence_operator;
grant select, insert, update, delete on companies, users, members, app.credentials, app.caller to ringfence_platform;

-- Keeps app.caller: everybody active is in it, and nobody else.
create function app.keep_caller() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if tg_table_name = 'companies' then
    update app.caller set blocked = app.is_blocked(new.status, new.subscription_status) where company_id = new.id;
    return null;
  end if;
  delete from app.caller where user_id = coalesce(new.id, old.id);
  if tg_op = 'DELETE' then
    return null;
  end if;
  if new.is_deleted then
    delete from app.credentials where user_id = new.id;
  elsif new.is_active and new.status = 'active' then
    -- The lock keeps a company that is being suspended right now from being missed.
    perform from public.companies where id = new.company_id for share;
    insert into app.caller (user_id, company_id, role, token_version, blocked)
    select new.id, new.company_id, new.user_role, new.token_version, coalesce(
      (select app.is_blocked(c.status, c.subscription_status) from public.companies c where c.id = new.company_id), false);
  end if;
  return null;
end $$;

create function app.is_blocked(status text, subscription_status text) returns boolean language sql immutable parallel safe
  return status <> 'active' or subscription_status in ('expired', 'suspended');
grant execute on function app.is_blocked(text, text) to ringfence_platform;

-- A user's company changes here and nowhere else. Historical rows follow from "no company" to the first one; before a
-- move they are claimed for the company in which they were made. The same whether a DBA updates `users.company_id` or
-- calls app.assign_company.
create function app.keep_members() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  t record;
begin
  insert into public.members (tenant_id, user_id) values (coalesce(new.company_id, new.id), new.id) on conflict do nothing;
  if tg_op = 'INSERT' or old.company_id is not distinct from new.company_id then
    return null;
  end if;
  set constraints all deferred;
  for t in select target, owner from app.protected_table loop
    if old.company_id is null then
      execute format('update %s set tenant_id = $1 where tenant_id = $2 and %I = $2', t.target, t.owner)
        using new.company_id, new.id;
    else
      execute format('update %s set company_id = tenant_id where company_id is null and tenant_id = $1 and %I = $2', t.target, t.owner)
        using old.company_id, new.id;
    end if;
  end loop;
  set constraints all immediate;
  return null;
end $$;

create function app.assign_company(user_id uuid, company_id uuid) returns void language plpgsql as $$
begin
  update public.users u set company_id = $2, updated_at = now() where u.id = $1;
  if not found then
    raise exception 'no user % is visible to %: run this as a role that bypasses row-level security', $1, current_user;
  end if;
end $$;
grant execute on function app.assign_company(uuid, uuid) to ringfence_dba;

-- Labels with which a user may edit the other users of the company (contract: roles and permissions).
create function app.is_team_admin(role text) returns boolean language sql immutable parallel safe
  return role in ('company_admin', 'Admin', 'admin', 'Super Admin', 'super_admin');
grant execute on function app.is_team_admin(text) to ringfence_api, ringfence_platform;

-- The rules of a users row that no handler can forget: only admins change others, only a super admin makes a super
-- admin, and a company keeps an admin. People at psql with other roles are not bound by it.
create function app.guard_user() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
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
    perform pg_advisory_xact_lock(hashtextextended('admins of ' || old.company_id, 0));
    if not exists (select from public.users u where u.company_id = old.company_id and u.id <> old.id
                   and u.user_role = 'company_admin' and u.status = 'active' and u.is_active and not u.is_deleted)
       and (not new.is_deleted
            or exists (select from public.users u where u.company_id = old.company_id and u.id <> old.id and not u.is_deleted)) then
      raise sqlstate 'RF400' using message = 'The company needs at least one admin: make somebody else an admin first';
    end if;
  end if;
  return new;
end $$;

create trigger a_members after insert or update of company_id on users for each row execute function app.keep_members();
create trigger b_caller after insert or update of company_id, user_role, status, token_version, is_active, is_deleted or delete on users
  for each row execute function app.keep_caller();
create trigger b_caller after update of status, subscription_status on companies for each row execute function app.keep_caller();
create trigger guard before update on users for each row execute function app.guard_user();

-- A company as the API shows it (contract: companies).
create view app.company_card with (security_invoker = true) as
  select c.id, c.name, c.plan, c.status, c.domain, c.logo_url, c.timezone, c.currency, c.email, c.phone, c.address, c.city,
    c.state, c.zip, c.created_at,
    (select count(*) from public.users u where u.company_id = c.id and not u.is_deleted)::int as user_count,
    c.subscription_status, c.trial_ends_at,
    case when c.subscription_status = 'trial'
      then greatest(0, floor(extract(epoch from c.trial_ends_at - now()) / 86400))::int end as days_remaining,
    c.settings
  from public.companies c;
grant select on app.company_card to ringfence_api, ringfence_platform;

reset role;
alter function app.keep_caller() owner to ringfence_platform;
alter function app.keep_members() owner to ringfence_platform;
