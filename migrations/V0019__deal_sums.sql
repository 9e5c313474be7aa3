-- Figures (contract: analytics): days of a company's time zone, and sums of its deals that the database keeps up to date.
set role ringfence_owner;

-- The entered company's time zone; UTC when it has none or the text names none. A text with digits is an offset of its
-- own making to PostgreSQL, whatever the name in it.
create function app.company_zone() returns text language plpgsql stable as $$
declare
  zone text;
begin
  select c.timezone into zone from public.companies c
  where c.id = app.company_id() and (c.timezone !~ '[0-9]' or c.timezone ~ '^Etc/GMT[+-][0-9]{1,2}$');
  perform now() at time zone zone;
  return coalesce(zone, 'UTC');
exception when data_exception then
  return 'UTC';
end $$;

-- When a day begins in a zone: the first time, where the clock goes back over midnight.
create function app.midnight(day date, zone text) returns timestamptz language sql stable
  return case when ($1::timestamp at time zone $2 - interval '1 hour') at time zone $2 = $1
    then $1::timestamp at time zone $2 - interval '1 hour' else $1::timestamp at time zone $2 end;

-- From the beginning of the first day to the end of the last one; unbounded where none is given.
create function app.period(first_day date, last_day date, out zone text, out starts timestamptz, out ends timestamptz)
  language plpgsql stable as $$
begin
  zone := app.company_zone();
  starts := coalesce(app.midnight(first_day, zone), '-infinity');
  ends := coalesce(app.midnight(last_day + 1, zone), 'infinity');
end $$;

-- `part` of `whole` in percent, 0 when there is no whole; and by how many percent something has grown, 0 when there was
-- nothing before.
create function app.percent(part numeric, whole numeric, digits int default 1) returns numeric language sql immutable parallel safe
  return case when whole = 0 then 0 else coalesce(round(100 * part / whole, digits), 0) end;
create function app.growth(now numeric, before numeric) returns numeric language sql immutable parallel safe
  return app.percent($1 - $2, $2);
create function app.ratio(part numeric, whole numeric, digits int default 2) returns numeric language sql immutable parallel safe
  return case when whole = 0 then 0 else coalesce(round(part / whole, digits), 0) end;

-- Deals that are not deleted, counted by all that a report asks for: those made in the same week (from Monday, UTC). A
-- change of deals adds rows with what has come and gone, so that writers never wait for each other; now and then they are
-- folded into one row, which is why only sums mean something. Only the triggers below write.
create table deal_sums (
  id             uuid not null default gen_random_uuid(),
  tenant_id      uuid not null,
  company_id     uuid,
  owner_id       uuid not null,
  week           timestamptz not null,
  pipeline_id    uuid not null,
  stage_id       uuid not null,
  status         text not null check (status in ('open', 'won', 'lost', 'abandoned')),
  deals          bigint not null,
  value          numeric(24, 2) not null,
  stage_seconds  bigint not null,  -- from entering the stage to the closing; to 1970 when it is not closed
  running        bigint not null,  -- how many are not closed
  closed         bigint not null,
  closed_seconds bigint not null,  -- of those won or lost, from the beginning to the closing
  is_folded      boolean not null default false
);
create unique index deal_sums_tenant_folded_key on deal_sums (tenant_id, company_id, owner_id, week, pipeline_id, stage_id, status)
  nulls not distinct where is_folded;
create index deal_sums_week on deal_sums (tenant_id, week)
  include (company_id, owner_id, pipeline_id, stage_id, status, deals, value, stage_seconds, running, closed, closed_seconds);
create index deal_sums_unfolded on deal_sums (tenant_id) where not is_folded;
select app.protect('deal_sums', 'owner_id');
revoke insert, update, delete on deal_sums from ringfence_api;
revoke update (owner_id, week, pipeline_id, stage_id, status, deals, value, stage_seconds, running, closed, closed_seconds, is_folded)
  on deal_sums from ringfence_api;
-- The sums follow the deals, and go with their company.
alter table deal_sums drop constraint deal_sums_member_fkey, add constraint deal_sums_member_fkey
  foreign key (tenant_id, owner_id) references members (tenant_id, user_id) on delete cascade deferrable initially immediate;
revoke update (tenant_id, company_id) on deal_sums from ringfence_platform;
grant select, insert, update, delete on deal_sums to ringfence_platform;

-- What moves and claims the rows of a user must leave the sums to the triggers: otherwise they would count twice.
create or replace view app.protected_table with (security_invoker = true) as
  select p.polrelid::regclass as target, c.relname::text as table_name, a.attname as owner
  from pg_catalog.pg_policy p
  join pg_catalog.pg_class c on c.oid = p.polrelid
  join pg_catalog.pg_constraint k on k.conrelid = p.polrelid and k.conname = c.relname || '_member_fkey'
  join pg_catalog.pg_attribute a on a.attrelid = p.polrelid and a.attnum = k.conkey[2]
  where p.polname = 'tenant' and c.relname <> 'deal_sums';

-- What one deal adds to the sums.
create function app.deal_measures(value numeric, status text, created_at timestamptz, entered_at timestamptz, closed_at timestamptz)
  returns table (week timestamptz, deals bigint, value numeric, stage_seconds bigint, running bigint, closed bigint, closed_seconds bigint)
  language sql stable
  begin atomic
    select date_trunc('week', created_at, 'UTC'), 1, $1,
      case when closed_at is null then -extract(epoch from entered_at)::bigint
        else greatest(0, extract(epoch from closed_at - entered_at))::bigint end,
      (closed_at is null)::int, (closed_at is not null and $2 in ('won', 'lost'))::int,
      case when $2 in ('won', 'lost') then greatest(0, coalesce(extract(epoch from closed_at - created_at), 0))::bigint else 0 end;
  end;

-- Folds what was added to a tenant's sums. One at a time: two would wait for each other's rows.
-- Row security is on whatever the caller has set: a backfill switches it off for itself.
create function app.fold_deal_sums(tenant uuid) returns void language plpgsql
  security definer set search_path = pg_catalog, pg_temp set row_security = on as $$
begin
  if not pg_try_advisory_xact_lock(hashtextextended('deal sums of ' || tenant, 0)) then
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

create function app.keep_deal_sums() returns trigger language plpgsql
  security definer set search_path = pg_catalog, pg_temp set row_security = on as $$
declare
  tenants uuid[];
begin
  if tg_op = 'INSERT' then
    with added as (
      insert into public.deal_sums (tenant_id, company_id, owner_id, week, pipeline_id, stage_id, status, deals, value, stage_seconds,
        running, closed, closed_seconds)
      select d.tenant_id, d.company_id, d.owner_id, m.week, d.pipeline_id, d.stage_id, d.status, sum(m.deals), sum(m.value),
        sum(m.stage_seconds), sum(m.running), sum(m.closed), sum(m.closed_seconds)
      from new_deals d, app.deal_measures(d.value, d.status, d.created_at, d.stage_entered_at, d.actual_close_date) m
      where not d.is_deleted group by 1, 2, 3, 4, 5, 6, 7
      returning tenant_id
    ) select array_agg(a.tenant_id) into tenants from added a;
  elsif tg_op = 'DELETE' then
    with added as (
      insert into public.deal_sums (tenant_id, company_id, owner_id, week, pipeline_id, stage_id, status, deals, value, stage_seconds,
        running, closed, closed_seconds)
      select d.tenant_id, d.company_id, d.owner_id, m.week, d.pipeline_id, d.stage_id, d.status, -sum(m.deals), -sum(m.value),
        -sum(m.stage_seconds), -sum(m.running), -sum(m.closed), -sum(m.closed_seconds)
      from old_deals d, app.deal_measures(d.value, d.status, d.created_at, d.stage_entered_at, d.actual_close_date) m
      where not d.is_deleted group by 1, 2, 3, 4, 5, 6, 7
      returning tenant_id
    ) select array_agg(a.tenant_id) into tenants from added a;
  else
    with added as (
      insert into public.deal_sums (tenant_id, company_id, owner_id, week, pipeline_id, stage_id, status, deals, value, stage_seconds,
        running, closed, closed_seconds)
      select d.tenant_id, d.company_id, d.owner_id, m.week, d.pipeline_id, d.stage_id, d.status, sum(d.sign * m.deals), sum(d.sign * m.value),
        sum(d.sign * m.stage_seconds), sum(d.sign * m.running), sum(d.sign * m.closed), sum(d.sign * m.closed_seconds)
      from (select 1 as sign, n.* from new_deals n where not n.is_deleted
        union all select -1, o.* from old_deals o where not o.is_deleted) d,
        app.deal_measures(d.value, d.status, d.created_at, d.stage_entered_at, d.actual_close_date) m
      group by 1, 2, 3, 4, 5, 6, 7
      having sum(d.sign) <> 0 or sum(d.sign * m.value) <> 0 or sum(d.sign * m.stage_seconds) <> 0 or sum(d.sign * m.running) <> 0
        or sum(d.sign * m.closed) <> 0 or sum(d.sign * m.closed_seconds) <> 0
      returning tenant_id
    ) select array_agg(a.tenant_id) into tenants from added a;
  end if;
  if random() * 100 < cardinality(tenants) then
    perform app.fold_deal_sums(t.id) from (select distinct unnest(tenants) as id order by 1) t;
  end if;
  return null;
end $$;
create trigger sums_inserted after insert on deals referencing new table as new_deals
  for each statement execute function app.keep_deal_sums();
create trigger sums_updated after update on deals referencing old table as old_deals new table as new_deals
  for each statement execute function app.keep_deal_sums();
create trigger sums_deleted after delete on deals referencing old table as old_deals
  for each statement execute function app.keep_deal_sums();

-- The whole weeks from `starts` on and before `ends`.
create function app.whole_weeks(starts timestamptz, ends timestamptz, out first timestamptz, out until timestamptz) language sql stable
  return (date_trunc('week', $1 - interval '1 microsecond', 'UTC') + interval '168 hours', date_trunc('week', $2, 'UTC'));

-- The caller's deals that were made from `starts` on and before `ends`, outside of the whole weeks between them.
create function app.deals_beside_weeks(starts timestamptz, ends timestamptz)
  returns table (owner_id uuid, pipeline_id uuid, stage_id uuid, status text, deals bigint, value numeric, stage_seconds bigint,
    running bigint, closed bigint, closed_seconds bigint)
  language sql stable
  begin atomic
    with whole as materialized (
      select w.first, w.until from app.whole_weeks($1, $2) w
    )
    select d.owner_id, d.pipeline_id, d.stage_id, d.status, m.deals, m.value, m.stage_seconds, m.running, m.closed, m.closed_seconds
    from public.deals d, app.deal_measures(d.value, d.status, d.created_at, d.stage_entered_at, d.actual_close_date) m
    where not d.is_deleted and d.created_at >= $1 and d.created_at < (select least($2, w.first) from whole w)
    union all
    select d.owner_id, d.pipeline_id, d.stage_id, d.status, m.deals, m.value, m.stage_seconds, m.running, m.closed, m.closed_seconds
    from public.deals d, app.deal_measures(d.value, d.status, d.created_at, d.stage_entered_at, d.actual_close_date) m
    where not d.is_deleted and d.created_at < $2 and d.created_at >= (select greatest(w.until, least($2, w.first)) from whole w);
  end;

-- All of them, in parts that are to be added up: whole weeks by their sums, and the rest deal by deal.
create function app.deals_made(starts timestamptz, ends timestamptz)
  returns table (owner_id uuid, pipeline_id uuid, stage_id uuid, status text, deals bigint, value numeric, stage_seconds bigint,
    running bigint, closed bigint, closed_seconds bigint)
  language sql stable
  begin atomic
    select s.owner_id, s.pipeline_id, s.stage_id, s.status, s.deals, s.value, s.stage_seconds, s.running, s.closed, s.closed_seconds
    from public.deal_sums s
    where s.week >= (select w.first from app.whole_weeks($1, $2) w) and s.week < (select w.until from app.whole_weeks($1, $2) w)
    union all
    select d.owner_id, d.pipeline_id, d.stage_id, d.status, d.deals, d.value, d.stage_seconds, d.running, d.closed, d.closed_seconds
    from app.deals_beside_weeks($1, $2) d;
  end;
grant execute on function app.company_zone(), app.midnight(date, text), app.period(date, date), app.percent(numeric, numeric, int),
  app.growth(numeric, numeric), app.ratio(numeric, numeric, int), app.whole_weeks(timestamptz, timestamptz),
  app.deals_beside_weeks(timestamptz, timestamptz), app.deals_made(timestamptz, timestamptz) to ringfence_api;
grant execute on function app.deal_measures(numeric, text, timestamptz, timestamptz, timestamptz) to ringfence_api, ringfence_platform;

-- What is read to fill the sums for the first time.
grant select (tenant_id, company_id, owner_id, pipeline_id, stage_id, status, value, created_at, stage_entered_at, actual_close_date, is_deleted)
  on deals to ringfence_platform;
reset role;
alter function app.fold_deal_sums(uuid) owner to ringfence_platform;
alter function app.keep_deal_sums() owner to ringfence_platform;
set role ringfence_platform;
insert into public.deal_sums (tenant_id, company_id, owner_id, week, pipeline_id, stage_id, status, deals, value, stage_seconds,
  running, closed, closed_seconds, is_folded)
select d.tenant_id, d.company_id, d.owner_id, m.week, d.pipeline_id, d.stage_id, d.status, sum(m.deals), sum(m.value),
  sum(m.stage_seconds), sum(m.running), sum(m.closed), sum(m.closed_seconds), true
from public.deals d, app.deal_measures(d.value, d.status, d.created_at, d.stage_entered_at, d.actual_close_date) m
where not d.is_deleted group by 1, 2, 3, 4, 5, 6, 7;
reset role;
set role ringfence_owner;
revoke select (pipeline_id, stage_id, status, value, created_at, stage_entered_at, actual_close_date, is_deleted) on deals from ringfence_platform;
reset role;
