-- Requests that were refused, for people at psql: a refused transaction leaves nothing behind, so servers write down afterwards
-- who was refused what, how often within an hour.
set role ringfence_owner;

create table app.refusals (
  tenant_id  uuid not null,
  company_id uuid,
  user_id    uuid not null,
  hour       timestamptz not null,
  route      text not null,  -- with its method
  reason     text not null,
  times      int not null,
  last_at    timestamptz not null,
  request_id text not null,  -- of the last one
  primary key (tenant_id, user_id, hour, route, reason),
  constraint refusals_company_is_tenant check (company_id is null or company_id = tenant_id),
  constraint refusals_member_fkey foreign key (tenant_id, user_id) references members (tenant_id, user_id)
    on delete cascade deferrable initially immediate
);
alter table app.refusals enable row level security, force row level security;
create policy platform on app.refusals to ringfence_platform using (true) with check (true);
grant select, insert, update, delete on app.refusals to ringfence_platform;

-- Adds refusals, each of a user by its number: in the company where that user is now. What is older than 30 days goes when there
-- is something new of the same tenant.
create function app.note_refusals(users uuid[], routes text[], reasons text[], times int[], request_ids text[]) returns void
  language sql security definer set search_path = pg_catalog, pg_temp set row_security = on
  begin atomic
    delete from app.refusals r using public.users u
    where u.id = any ($1) and r.tenant_id = coalesce(u.company_id, u.id) and r.hour < now() - interval '30 days';
    insert into app.refusals as r (tenant_id, company_id, user_id, hour, route, reason, times, last_at, request_id)
    select coalesce(u.company_id, u.id), u.company_id, u.id, date_trunc('hour', now()), n.route, n.reason, n.times, now(), n.request_id
    from unnest($1, $2, $3, $4, $5) n (user_id, route, reason, times, request_id) join public.users u on u.id = n.user_id
    order by 1, 3, 5, 6
    on conflict (tenant_id, user_id, hour, route, reason)
      do update set times = r.times + excluded.times, last_at = excluded.last_at, request_id = excluded.request_id;
  end;

-- Of the operator's company.
create function app.company_refusals() returns table (last_at timestamptz, user_id uuid, route text, reason text, times int, request_id text)
  language sql stable security definer set search_path = pg_catalog, pg_temp
  begin atomic
    select r.last_at, r.user_id, r.route, r.reason, r.times, r.request_id from app.refusals r
    where r.tenant_id = app.operator_company() and r.company_id is not null order by r.last_at desc limit 1000;
  end;

create function app.staff_refusals() returns table (last_at timestamptz, company text, user_id uuid, route text, reason text, times int,
  request_id text) language sql security definer set search_path = pg_catalog, pg_temp
  begin atomic
    insert into app.staff_log (report) values ('refusals');
    select r.last_at, c.name, r.user_id, r.route, r.reason, r.times, r.request_id
    from app.refusals r left join public.companies c on c.id = r.tenant_id order by r.last_at desc limit 1000;
  end;

reset role;

alter function app.note_refusals(uuid[], text[], text[], int[], text[]) owner to ringfence_platform;
alter function app.company_refusals() owner to ringfence_platform;
alter function app.staff_refusals() owner to ringfence_platform;
grant execute on function app.note_refusals(uuid[], text[], text[], int[], text[]) to ringfence_api;
grant execute on function app.company_refusals() to ringfence_operator, ringfence_operator_limited;
grant execute on function app.staff_refusals() to ringfence_staff;
