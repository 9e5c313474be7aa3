-- Invitations, notifications, company secrets, rate limits, and the functions of src/db/platform.rs: the only code that
-- runs before a company is known or across companies.
set role ringfence_owner;

create table invitations (
  id          uuid primary key default app.uuid_v7(),
  tenant_id   uuid not null,
  company_id  uuid,
  user_id     uuid not null,
  email       text not null check (email = lower(email)),
  first_name  text not null,
  last_name   text not null,
  user_role   text not null check (user_role <> 'super_admin'),
  token_hash  bytea not null,
  expires_at  timestamptz not null,
  accepted_at timestamptz,
  created_at  timestamptz not null default now()
);
create index invitations_feed on invitations (tenant_id, created_at desc, id desc) include (company_id, user_id);
-- The token is 256 random bits, so this global index tells nobody anything.
create unique index invitations_token_key on invitations (token_hash);
select app.protect('invitations', 'user_id');
grant select, update (accepted_at) on invitations to ringfence_platform;

create table notifications (
  id         uuid primary key default app.uuid_v7(),
  tenant_id  uuid not null default coalesce(app.company_id(), app.user_id()),
  company_id uuid default app.company_id(),
  user_id    uuid not null default app.user_id(),
  title      text not null check (length(title) <= 255),
  message    text not null,
  type       text not null default 'info' check (type in ('info', 'success', 'warning', 'error')),
  read       boolean not null default false,
  link       text check (length(link) <= 500),
  is_deleted boolean not null default false,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint notifications_company_is_tenant check (company_id is null or company_id = tenant_id),
  constraint notifications_tenant_id_key unique (tenant_id, id),
  constraint notifications_member_fkey foreign key (tenant_id, user_id) references members (tenant_id, user_id) deferrable initially immediate
);
create index notifications_feed on notifications (user_id, created_at desc, id desc) include (company_id, read) where not is_deleted;
alter table notifications enable row level security, force row level security;
-- A person's own, in the company they are in or from before they had one; nobody else's, whatever the role.
create policy own on notifications to ringfence_api
  using (user_id = (select app.user_id()) and (company_id is null or company_id = (select app.company_id())))
  with check (user_id = (select app.user_id()) and (company_id is null or company_id = (select app.company_id())));
create policy platform on notifications to ringfence_platform using (true) with check (true);
grant select, insert, delete, update (title, message, type, read, link, is_deleted, updated_at) on notifications to ringfence_api;
grant select (tenant_id), delete on notifications to ringfence_platform;

-- Credentials of a company's providers, sealed by the server (src/seal.rs): the API writes them and cannot read them here.
create table app.company_secrets (
  company_id uuid not null references companies on delete cascade,
  name       text not null,
  sealed     bytea not null,
  last_four  text not null,
  updated_at timestamptz not null default now(),
  primary key (company_id, name)
);
alter table app.company_secrets enable row level security, force row level security;
create policy platform on app.company_secrets to ringfence_platform using (true) with check (true);
grant select, insert, update, delete on app.company_secrets to ringfence_platform;

-- Counters of attempts, shared by all servers. Keys are hashes; losing the table in a crash is harmless.
create unlogged table app.rate_limits (
  bucket       text primary key,
  window_start timestamptz not null,
  hits         int not null
);
grant select, insert, update, delete on app.rate_limits to ringfence_platform;

-- What a signed-in person's token and answer are made of.
create type app.account as (
  id uuid, email text, first_name text, last_name text, role text, company_id uuid, team_id uuid,
  status text, token_version int, blocked boolean
);

create function app.account_of(u users) returns app.account language sql stable
  return (u.id, u.email, u.first_name, u.last_name, u.user_role, u.company_id, u.team_id,
    case when not u.is_active then 'suspended' else u.status end, u.token_version,
    coalesce((select c.blocked from app.caller c where c.user_id = u.id), false))::app.account;

-- Whether work may be done in a company's name; no row when there is no such company.
create function app.company_state(company_id uuid) returns table (id uuid, blocked boolean) language sql stable
  security definer set search_path = pg_catalog, pg_temp
  begin atomic select c.id, app.is_blocked(c.status, c.subscription_status) from public.companies c where c.id = $1; end;

-- Counts one attempt; answers how many seconds to wait, 0 when it may go on.
create function app.rate_limit(bucket text, allowed int, per interval) returns int language plpgsql
  security definer set search_path = pg_catalog, pg_temp as $$
declare
  b app.rate_limits;
begin
  insert into app.rate_limits as r (bucket, window_start, hits) values ($1, now(), 1)
  on conflict on constraint rate_limits_pkey do update set
    window_start = case when r.window_start + per <= now() then now() else r.window_start end,
    hits = case when r.window_start + per <= now() then 1 else r.hits + 1 end
  returning * into b;
  if random() < 0.001 then
    delete from app.rate_limits old where old.window_start < now() - interval '1 day';
  end if;
  return case when b.hits > allowed then greatest(1, ceil(extract(epoch from b.window_start + per - now()))::int) else 0 end;
end $$;

create function app.login(email text, out account app.account, out password_hash text) returns setof record language sql stable
  security definer set search_path = pg_catalog, pg_temp
  begin atomic
    select app.account_of(u), k.password_hash from public.users u join app.credentials k on k.user_id = u.id
    where u.email = $1 and not u.is_deleted;
  end;

-- Notes a login; a hash is given when the stored one was of an older kind.
create function app.logged_in(user_id uuid, rehashed text) returns void language sql
  security definer set search_path = pg_catalog, pg_temp
  begin atomic
    update public.users u set last_login = now() where u.id = $1;
    update app.credentials k set password_hash = $2 where k.user_id = $1 and $2 is not null;
  end;

create function app.my_password_hash() returns text language sql stable security definer set search_path = pg_catalog, pg_temp
  begin atomic select k.password_hash from app.credentials k where k.user_id = app.user_id(); end;

-- The caller's new password; every token they hold ends.
create function app.change_my_password(new_hash text) returns void language sql security definer set search_path = pg_catalog, pg_temp
  begin atomic
    update app.credentials k set password_hash = $1, reset_code_hash = null where k.user_id = app.user_id();
    update public.users u set token_version = u.token_version + 1 where u.id = app.user_id();
  end;

create function app.email_taken(email text) returns boolean language sql stable security definer set search_path = pg_catalog, pg_temp
  begin atomic select exists (select from public.users u where u.email = $1 and not u.is_deleted); end;

create function app.company_name_taken(name text) returns boolean language sql stable security definer set search_path = pg_catalog, pg_temp
  begin atomic select exists (select from public.companies c where c.name = $1); end;

create function app.add_user(email text, password_hash text, first_name text, last_name text, user_role text, company_id uuid, status text)
  returns app.account language sql security definer set search_path = pg_catalog, pg_temp
  begin atomic
    with added as (
      insert into public.users (email, first_name, last_name, user_role, company_id, status) values ($1, $3, $4, $5, $6, $7) returning *
    ), kept as (
      insert into app.credentials (user_id, password_hash) select added.id, $2 from added
    )
    select app.account_of(added) from added;
  end;

-- A company with its first admin.
create function app.register_company(name text, email text, password_hash text, first_name text, last_name text, phone text)
  returns table (company_id uuid, trial_ends_at timestamptz, admin app.account) language plpgsql
  security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
  c public.companies;
begin
  insert into public.companies (name, plan, subscription_status, trial_ends_at, phone, email)
  values ($1, 'pro', 'trial', now() + interval '14 days', nullif($6, ''), $2) returning * into c;
  return query select c.id, c.trial_ends_at, a from app.add_user($2, $3, $4, $5, 'company_admin', c.id, 'active') a;
end $$;

-- An account somebody makes for themselves, or an admin makes for a colleague. What the caller may give away is decided
-- here, from app.caller: a stranger gets no admin label, and with a company no access until an admin approves.
create function app.register_user(email text, password_hash text, first_name text, last_name text, user_role text, company_id uuid)
  returns app.account language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  me app.caller;
  is_admin boolean;
  result app.account;
begin
  select * into me from app.caller c where c.user_id = app.user_id() and not c.blocked;
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

create function app.start_password_reset(email text, code_hash bytea) returns boolean language sql
  security definer set search_path = pg_catalog, pg_temp
  begin atomic
    with k as (
      update app.credentials k set reset_code_hash = $2, reset_expires_at = now() + interval '15 minutes', reset_attempts = 0
      from public.users u where u.id = k.user_id and u.email = $1 and not u.is_deleted and u.is_active
      returning 1
    )
    select exists (select from k);
  end;

-- Uses a reset code. A wrong one counts: five and the code is void. `hash` is the new password's.
create function app.finish_password_reset(email text, code_hash bytea, hash text) returns boolean language plpgsql
  security definer set search_path = pg_catalog, pg_temp as $$
declare
  k app.credentials;
begin
  select c.* into k from app.credentials c join public.users u on u.id = c.user_id
  where u.email = $1 and not u.is_deleted for update of c;
  if k.reset_code_hash is null or k.reset_expires_at < now() or k.reset_attempts >= 5 then
    return false;
  end if;
  if k.reset_code_hash <> $2 then
    update app.credentials c set reset_attempts = c.reset_attempts + 1 where c.user_id = k.user_id;
    return false;
  end if;
  update app.credentials c set password_hash = $3, reset_code_hash = null where c.user_id = k.user_id;
  update public.users u set token_version = u.token_version + 1 where u.id = k.user_id;
  return true;
end $$;

-- An invitation is worth as much as the one who made it: it ends when they leave or stop being an admin.
create function app.may_invite(user_id uuid, company_id uuid) returns boolean language sql stable
  return exists (select from app.caller c where c.user_id = $1 and c.company_id = $2 and not c.blocked
    and c.role in ('company_admin', 'super_admin'));

create function app.invitation(token_hash bytea) returns table (email text, first_name text, last_name text, role text)
  language sql stable security definer set search_path = pg_catalog, pg_temp
  begin atomic
    select i.email, i.first_name, i.last_name, i.user_role from public.invitations i
    where i.token_hash = $1 and i.accepted_at is null and i.expires_at > now() and app.may_invite(i.user_id, i.tenant_id);
  end;

-- Turns an invitation into an account, once. No row when the token is unknown, used or expired.
create function app.accept_invitation(token_hash bytea, password_hash text) returns setof app.account language plpgsql
  security definer set search_path = pg_catalog, pg_temp as $$
declare
  i public.invitations;
begin
  update public.invitations v set accepted_at = now()
  where v.token_hash = $1 and v.accepted_at is null and v.expires_at > now() and app.may_invite(v.user_id, v.tenant_id)
  returning * into i;
  if found then
    return next app.add_user(i.email, $2, i.first_name, i.last_name, i.user_role, i.tenant_id, 'active');
  end if;
end $$;

create function app.keep_company_secret(name text, sealed bytea, last_four text, company_id uuid) returns void language plpgsql
  security definer set search_path = pg_catalog, pg_temp as $$
begin
  if $4 is distinct from app.company_id() then
    perform app.require_super_admin();
  end if;
  if $2 is null then
    delete from app.company_secrets s where s.company_id = $4 and s.name = $1;
  else
    insert into app.company_secrets as s (company_id, name, sealed, last_four) values ($4, $1, $2, $3)
    on conflict on constraint company_secrets_pkey do update set sealed = $2, last_four = $3, updated_at = now();
  end if;
end $$;

-- What a super admin may do across companies. Each asks app.caller itself.
create function app.require_super_admin() returns void language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  if not exists (select from app.caller c where c.user_id = app.user_id() and c.role = 'super_admin' and not c.blocked) then
    raise sqlstate 'RF403' using message = 'Only a super admin may do this';
  end if;
end $$;

create function app.all_companies(status text, skip bigint, "limit" bigint) returns setof app.company_card language plpgsql stable
  security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform app.require_super_admin();
  return query select c.* from app.company_card c
    where ($1 is null or c.status = $1)
      and c.id is distinct from (select x.company_id from app.caller x where x.user_id = app.user_id())
    order by c.created_at, c.id offset $2 limit $3;
end $$;

create function app.any_company(company_id uuid) returns setof app.company_card language plpgsql stable
  security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform app.require_super_admin();
  return query select c.* from app.company_card c where c.id = $1;
end $$;

create function app.create_company(name text, plan text, domain text, timezone text, currency text) returns setof app.company_card language plpgsql
  security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
  new_id uuid;
begin
  perform app.require_super_admin();
  insert into public.companies (name, plan, domain, timezone, currency) values ($1, $2, $3, $4, $5) returning id into new_id;
  return query select c.* from app.company_card c where c.id = new_id;
end $$;

-- `patch` holds the fields to change under their column names; settings are merged key by key.
create function app.update_any_company(company_id uuid, patch jsonb) returns setof app.company_card language plpgsql
  security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform app.require_super_admin();
  update public.companies c set updated_at = now(), (name, domain, logo_url, timezone, currency, email, phone, address, city, state, zip, settings, plan, status) =
    (select n.name, n.domain, n.logo_url, n.timezone, n.currency, n.email, n.phone, n.address, n.city, n.state, n.zip, c.settings || n.settings, n.plan, n.status
     from jsonb_populate_record(c, $2) n)
  where c.id = $1;
  return query select c.* from app.company_card c where c.id = $1;
end $$;

-- Deletes a company that nobody is in, with everything it owned. False when there is no such company.
create function app.delete_company(company_id uuid) returns boolean language plpgsql
  security definer set search_path = pg_catalog, pg_temp as $$
declare
  people bigint;
  t record;
begin
  perform app.require_super_admin();
  perform from public.companies c where c.id = $1 for update;
  if not found then
    return false;
  end if;
  select count(*) into people from public.users u where u.company_id = $1 and not u.is_deleted;
  if people > 0 then
    raise sqlstate 'RF400' using message = format('The company has %s users: remove them first', people);
  end if;
  set constraints all deferred;
  for t in select target from app.protected_table loop
    execute format('delete from %s where tenant_id = $1', t.target) using $1;
  end loop;
  delete from public.notifications n where n.tenant_id = $1;
  update public.users u set company_id = null where u.company_id = $1;
  delete from public.members m where m.tenant_id = $1;
  delete from public.companies c where c.id = $1;
  set constraints all immediate;
  return true;
end $$;

create function app.users_of_company(company_id uuid) returns setof users language plpgsql stable
  security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform app.require_super_admin();
  return query select u.* from public.users u where u.company_id = $1 and not u.is_deleted order by u.created_at, u.id;
end $$;

-- `patch` holds first_name, last_name, email, user_role, status as far as they change. One who waits is approved by it.
create function app.update_any_user(user_id uuid, patch jsonb) returns setof users language plpgsql
  security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform app.require_super_admin();
  return query update public.users u set updated_at = now(), (first_name, last_name, email, user_role, status) =
    (select n.first_name, n.last_name, n.email, n.user_role, case n.status when 'pending' then 'active' else n.status end
     from jsonb_populate_record(u, $2) n)
  where u.id = $1 and not u.is_deleted returning u.*;
end $$;

create function app.delete_any_user(user_id uuid) returns boolean language plpgsql
  security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform app.require_super_admin();
  update public.users u set is_deleted = true, updated_at = now() where u.id = $1 and not u.is_deleted;
  return found;
end $$;

reset role;

do $$
declare
  f regprocedure;
begin
  for f in select p.oid::regprocedure from pg_proc p where p.pronamespace = 'app'::regnamespace and p.prosecdef loop
    execute format('alter function %s owner to ringfence_platform', f);
  end loop;
end $$;
grant execute on function app.account_of(users), app.may_invite(uuid, uuid), app.require_super_admin() to ringfence_platform;
grant execute on function
  app.company_state(uuid), app.rate_limit(text, int, interval), app.login(text), app.logged_in(uuid, text), app.my_password_hash(), app.change_my_password(text),
  app.email_taken(text), app.company_name_taken(text), app.register_company(text, text, text, text, text, text),
  app.register_user(text, text, text, text, text, uuid), app.start_password_reset(text, bytea),
  app.finish_password_reset(text, bytea, text), app.invitation(bytea), app.accept_invitation(bytea, text),
  app.keep_company_secret(text, bytea, text, uuid), app.all_companies(text, bigint, bigint), app.any_company(uuid),
  app.create_company(text, text, text, text, text), app.update_any_company(uuid, jsonb), app.delete_company(uuid),
  app.users_of_company(uuid), app.update_any_user(uuid, jsonb), app.delete_any_user(uuid)
  to ringfence_api;
