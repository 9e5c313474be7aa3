-- Historical rows get their company: in small transactions while the API serves, with a record from which it is undone.
-- Nothing is decided here: a row's company is its tenant, which was fixed when the row came in.
set role ringfence_owner;

-- Giving a row its company changes nothing else of it, so no trigger may fire for every update
-- (sql/lint/update_triggers.sql).
drop trigger dates on deals;
create trigger dates before insert or update of stage_id, status on deals for each row execute function app.keep_deal_dates();
drop trigger completion on activities;
create trigger completion before insert or update of status, completed_at on activities for each row execute function app.keep_activity();

-- How far it is: each table in one part or several, in the order in which the rows lie. By the keys of the old data, which
-- have no order, it takes nearly twice as long.
create table app.backfill (
  target      name not null,
  part        int not null,
  next_block  bigint not null,
  until_block bigint not null,
  row_count   bigint not null default 0,
  started_at  timestamptz not null default clock_timestamp(),
  finished_at timestamptz,
  primary key (target, part)
);
-- The rows of each transaction, for undoing it.
create table app.backfill_batch (
  id      uuid primary key default app.uuid_v7(),
  target  name not null,
  ids     uuid[] not null,
  done_at timestamptz not null default clock_timestamp()
);
create index backfill_batch_target on app.backfill_batch (target, id);
-- Rows that stay historical, because the company has one with the same unique key.
create table app.backfill_collision (
  target   name not null,
  id       uuid not null,
  key_name name not null,
  primary key (target, id)
);
-- What each user had in each company before, for comparing.
create table app.backfill_before (
  target     name not null,
  company_id uuid not null,
  user_id    uuid not null,
  row_count  bigint not null,
  checksum   numeric not null,
  primary key (target, company_id, user_id)
);
-- No policy: these are for a role that bypasses row-level security.
alter table app.backfill enable row level security, force row level security;
alter table app.backfill_batch enable row level security, force row level security;
alter table app.backfill_collision enable row level security, force row level security;
alter table app.backfill_before enable row level security, force row level security;

-- Under the policies a backfill would find no rows and say that it is done.
create function app.require_bypass() returns void language plpgsql stable as $$
begin
  if not exists (select from pg_catalog.pg_roles r where r.rolname = current_user and (r.rolsuper or r.rolbypassrls)) then
    raise insufficient_privilege using message = format('historical rows are hidden from %s: run this as a role that bypasses row-level security (set role ringfence_dba)', current_user);
  end if;
end $$;

-- Historical rows by table and the company they will get; where there is none, why.
create function app.backfill_plan() returns table (table_name text, company text, row_count bigint, problem text) language plpgsql stable as $$
#variable_conflict use_column
declare
  t record;
begin
  perform app.require_bypass();
  for t in select p.target, p.table_name, p.owner from app.protected_table p order by 2 loop
    return query execute format(
      'select %L::text, c.name, count(*), case when c.id is not null then null when u.id is null then ''the user is missing''
           when u.company_id is null then ''the user has no company'' else ''the user got a company and the row was left behind: update its tenant_id'' end
       from %s x left join public.companies c on c.id = x.tenant_id left join public.users u on u.id = x.%I
       where x.company_id is null group by 2, 4 order by 3 desc', t.table_name, t.target, t.owner);
  end loop;
end $$;

-- How many rows could not get their company, because the company has a row with the same unique key or would have two.
create function app.backfill_collisions() returns table (table_name text, key_name text, row_count bigint) language plpgsql stable as $$
#variable_conflict use_column
declare
  k record;
  has_rows boolean;
  found_count bigint;
begin
  perform app.require_bypass();
  for k in
    select p.target, p.table_name, i.indexrelid::regclass::text as name, pg_get_expr(i.indpred, i.indrelid) as condition,
      (select string_agg(pg_get_indexdef(i.indexrelid, n, true), ', ' order by n) from generate_series(1, i.indnkeyatts) n) as keys,
      (select string_agg(quote_ident(a.attname), ', ') from pg_attribute a where a.attrelid = p.target and a.attnum > 0 and not a.attisdropped
        and a.attname <> 'company_id') as columns
    from app.protected_table p join pg_index i on i.indrelid = p.target::oid
    where i.indisunique and pg_get_expr(i.indpred, i.indrelid) like '%company_id IS NOT NULL%' order by 2, 3
  loop
    execute format('select exists (select from %s where company_id is null)', k.target) into has_rows;
    continue when not has_rows;
    execute format(
      'select coalesce(sum(least(g.rows - 1, g.historical)), 0) from (
         select count(*) as rows, count(*) filter (where is_historical) as historical
         from (select %1$s, coalesce(company_id, (select c.id from public.companies c where c.id = tenant_id)) as company_id, company_id is null as is_historical from %2$s) x
         where %3$s and num_nulls(%4$s) = 0 group by %4$s having count(*) > 1) g', k.columns, k.target, k.condition, k.keys) into found_count;
    if found_count > 0 then
      return query select k.table_name, k.name, found_count;
    end if;
  end loop;
end $$;

-- Rows with what the check sums are of: those that have a company to get, and those that got it.
create function app.backfill_rows(target regclass, name name, owner name) returns table (company_id uuid, user_id uuid, row_count bigint, checksum numeric)
  language plpgsql stable as $$
begin
  return query execute format(
    'select x.tenant_id, x.%1$I, count(*), sum(hashtextextended(x.id::text, 0)::numeric)
     from (select x.id, x.tenant_id, x.%1$I from %2$s x join public.companies c on c.id = x.tenant_id where x.company_id is null
       union all
       select x.id, x.company_id, x.%1$I from (select unnest(b.ids) as id from app.backfill_batch b where b.target = $1) b join %2$s x on x.id = b.id
       where x.company_id is not null) x
     group by 1, 2', owner, target) using name;
end $$;

-- Takes up every table that has rows to give a company and is not under way; also those that somebody changed, and so moved,
-- while they were passed.
create function app.open_backfill(parts int default 1) returns void language plpgsql as $$
declare
  t record;
  has_rows boolean;
  blocks bigint;
begin
  perform app.require_bypass();
  perform pg_advisory_xact_lock(hashtext('ringfence backfill'));
  for t in select p.target, p.table_name, p.owner from app.protected_table p order by 2 loop
    continue when exists (select from app.backfill b where b.target = t.table_name::name and b.finished_at is null);
    execute format('select exists (select from %s x where x.company_id is null and exists (select from public.companies c where c.id = x.tenant_id)
      and not exists (select from app.backfill_collision k where k.target = %L and k.id = x.id))', t.target, t.table_name) into has_rows;
    continue when not has_rows;
    delete from app.backfill b where b.target = t.table_name::name;
    delete from app.backfill_collision k where k.target = t.table_name::name;
    delete from app.backfill_before b where b.target = t.table_name::name;
    insert into app.backfill_before select t.table_name, r.* from app.backfill_rows(t.target, t.table_name::name, t.owner) r;
    blocks := pg_relation_size(t.target) / current_setting('block_size')::bigint;
    insert into app.backfill (target, part, next_block, until_block)
    select t.table_name, n, blocks * (n - 1) / parts, blocks * n / parts from generate_series(1, parts) n;
  end loop;
end $$;

-- Gives the next rows their company and notes it, in the transaction of the caller. `target` is null when nobody needs to
-- do anything now: all is done, or others are at what is left (`is_done`).
create function app.backfill_step(batch int default 2000, out target name, out moved int, out is_done boolean) language plpgsql as $$
declare
  b app.backfill;
  ids uuid[] := '{}';
  width bigint;  -- blocks with about so many rows
  first_block bigint;
  moved_one uuid;
  one uuid;
  taken_key name;
begin
  perform app.require_bypass();
  -- Losing the last moments in a crash loses the note of them, too.
  perform set_config('synchronous_commit', 'off', true);
  select p.* into b from app.backfill p where p.finished_at is null order by p.target, p.part limit 1 for update skip locked;
  if not found then
    is_done := not exists (select from app.backfill p where p.finished_at is null);
    return;
  end if;
  target := b.target;
  moved := 0;
  is_done := false;
  select greatest(1, batch / case when c.relpages > 0 and c.reltuples > 0 then greatest(1, c.reltuples / c.relpages) else 40 end) into width
  from pg_class c where c.oid = format('public.%I', target)::regclass;
  for n in 1..100 loop
    exit when cardinality(ids) > 0 or b.next_block >= b.until_block;
    first_block := b.next_block;
    b.next_block := least(first_block + width, b.until_block);
    execute format('select array(select x.id from public.%I x where x.ctid >= $1 and x.ctid < $2 and x.company_id is null)', target)
      into ids using format('(%s,0)', first_block)::tid, format('(%s,0)', b.next_block)::tid;
  end loop;
  update app.backfill p set next_block = b.next_block, finished_at = case when b.next_block >= b.until_block then clock_timestamp() end
  where p.target = b.target and p.part = b.part;
  if cardinality(ids) = 0 then
    return;
  end if;
  begin
    execute format(
      'with moved as (
         update public.%I x set company_id = x.tenant_id from public.companies c
         where x.id = any ($1) and x.company_id is null and c.id = x.tenant_id returning x.id
       ), noted as (insert into app.backfill_batch (target, ids) select $2, array_agg(id) from moved having count(*) > 0)
       select count(*) from moved', target) into moved using ids, target;
  exception when unique_violation then
    moved := 0;
    foreach one in array ids loop
      begin
        execute format('update public.%I x set company_id = x.tenant_id from public.companies c
          where x.id = $1 and x.company_id is null and c.id = x.tenant_id returning x.id', target) into moved_one using one;
        if moved_one is not null then
          insert into app.backfill_batch (target, ids) values (backfill_step.target, array[moved_one]);
          moved := moved + 1;
        end if;
      exception when unique_violation then
        get stacked diagnostics taken_key = constraint_name;
        insert into app.backfill_collision (target, id, key_name) values (backfill_step.target, one, taken_key) on conflict do nothing;
      end;
    end loop;
  end;
  update app.backfill p set row_count = p.row_count + moved where p.target = b.target and p.part = b.part;
end $$;

-- The whole of it for somebody at psql, who may stop it at any time and call it again. `pause` is in seconds.
create procedure app.run_backfill(batch int default 2000, pause float8 default 0, parts int default 1) language plpgsql as $$
declare
  step record;
begin
  perform app.open_backfill(parts);
  commit;
  loop
    select * into step from app.backfill_step(batch);
    commit;
    if step.is_done then
      perform app.open_backfill(parts);
      commit;
      exit when not exists (select from app.backfill b where b.finished_at is null);
    end if;
    perform pg_sleep(case when step.target is null then 0.2 else pause end);
  end loop;
end $$;

-- Compares what each user had in each company before with what is there now, by table.
create function app.backfill_verify() returns table (table_name text, users bigint, rows_before bigint, rows_now bigint, problem text) language plpgsql stable as $$
#variable_conflict use_column
declare
  t record;
begin
  perform app.require_bypass();
  for t in select p.target, p.table_name, p.owner from app.protected_table p
      where p.table_name::name in (select b.target from app.backfill b) order by 2 loop
    return query
      select t.table_name, count(*), sum(b.row_count)::bigint, sum(n.row_count)::bigint,
        nullif(concat_ws(', ',
          case when count(*) filter (where b.user_id is null) > 0
            then format('%s users have rows in a company where they had none', count(*) filter (where b.user_id is null)) end,
          case when count(*) filter (where n.row_count > b.row_count) > 0
            then format('%s users have more rows', count(*) filter (where n.row_count > b.row_count)) end,
          case when count(*) filter (where n.row_count = b.row_count and n.checksum <> b.checksum) > 0
            then format('%s users have other rows', count(*) filter (where n.row_count = b.row_count and n.checksum <> b.checksum)) end,
          case when count(*) filter (where coalesce(n.row_count, 0) < b.row_count) > 0
            then format('%s users have fewer rows: deleted meanwhile, unless somebody took them', count(*) filter (where coalesce(n.row_count, 0) < b.row_count)) end), '')
      from (select * from app.backfill_before p where p.target = t.table_name::name) b
      full join app.backfill_rows(t.target, t.table_name::name, t.owner) n on n.company_id = b.company_id and n.user_id = b.user_id;
  end loop;
end $$;

-- Takes the company of the rows of the last transaction away again. Rows stay whose user has left the company meanwhile:
-- as historical ones they would be seen by nobody.
create function app.undo_backfill_step(out target name, out restored int, out stayed int) language plpgsql as $$
declare
  b app.backfill_batch;
  owner_column name;
begin
  perform app.require_bypass();
  select x.* into b from app.backfill_batch x order by x.id desc limit 1 for update;
  if not found then
    delete from app.backfill;
    delete from app.backfill_before;
    delete from app.backfill_collision;
    return;
  end if;
  target := b.target;
  if (select a.attnotnull from pg_attribute a where a.attrelid = to_regclass('public.' || quote_ident(target)) and a.attname = 'company_id') then
    raise object_not_in_prerequisite_state using message = format('%s was finished: its rows always have a company now', target);
  end if;
  select p.owner into owner_column from app.protected_table p where p.table_name::name = b.target;
  execute format('with restored as (
      update public.%I x set company_id = null from public.users u
      where x.id = any ($1) and x.company_id is not null and u.id = x.%I and u.company_id = x.tenant_id returning 1)
    select count(*) from restored', target, owner_column) into restored using b.ids;
  stayed := cardinality(b.ids) - restored;
  delete from app.backfill_batch x where x.id = b.id;
end $$;

create procedure app.undo_backfill() language plpgsql as $$
declare
  step record;
begin
  loop
    select * into step from app.undo_backfill_step();
    commit;
    exit when step.target is null;
  end loop;
end $$;

-- Runs a statement that needs the whole table for a moment, and tries again where somebody holds it, instead of making
-- everybody wait in a line behind it.
create function app.with_short_lock(statement text) returns void language plpgsql as $$
begin
  for attempt in 1..50 loop
    begin
      perform set_config('lock_timeout', '500ms', true);
      execute statement;
      return;
    exception when lock_not_available then
      perform pg_sleep(0.1 * least(attempt, 20));
    end;
  end loop;
  raise lock_not_available using message = format('another transaction has kept the table for a minute: %s', statement);
end $$;

-- The end: in tables without historical rows company_id is not null from now on, and the policy is the plain one. As the
-- owner of the tables, or a superuser.
create procedure app.finish_backfill() language plpgsql as $$
declare
  targets name[] := array(select p.table_name::name from app.protected_table p
    join pg_attribute a on a.attrelid = p.target::oid and a.attname = 'company_id' and not a.attnotnull order by 1);
  target name;
  left_over boolean;
begin
  foreach target in array targets loop
    execute format('select exists (select from public.%I where company_id is null)', target) into left_over;
    if left_over then
      raise notice '% has historical rows and stays as it is', target;
      continue;
    end if;
    perform app.with_short_lock(format('alter table public.%I drop constraint if exists backfill_finished, add constraint backfill_finished check (company_id is not null) not valid', target));
    commit;
    -- Reads all rows, and lets others read and write meanwhile.
    begin
      execute format('alter table public.%I validate constraint backfill_finished', target);
    exception when check_violation then
      left_over := true;
    end;
    commit;
    if left_over then
      perform app.with_short_lock(format('alter table public.%I drop constraint backfill_finished', target));
      raise notice '% has historical rows and stays as it is', target;
    else
      perform app.with_short_lock(format('alter table public.%1$I alter column company_id set not null, drop constraint backfill_finished', target));
      execute format('alter policy tenant on public.%I using (tenant_id = (select app.company_id())) with check (tenant_id = (select app.company_id()))', target);
    end if;
    commit;
  end loop;
end $$;

grant execute on function app.require_bypass(), app.backfill_plan(), app.backfill_collisions(), app.backfill_rows(regclass, name, name),
  app.open_backfill(int), app.backfill_step(int), app.backfill_verify(), app.undo_backfill_step() to ringfence_dba;
grant execute on procedure app.run_backfill(int, float8, int), app.undo_backfill() to ringfence_dba;
reset role;

-- A trigger works under the policies of its own role also where whoever changes a row has switched them off for themselves
-- (sql/lint/definer_functions.sql): otherwise its statements are refused.
set role ringfence_platform;
alter function app.keep_caller() set row_security = on;
alter function app.keep_members() set row_security = on;
alter function app.keep_default_pipeline() set row_security = on;
alter function app.keep_storage_use() set row_security = on;
reset role;

-- What a trigger does for a new row of a company is in an archive already, so it does nothing while one comes in: the
-- setting is that transaction's (src/archive.rs, sql/lint/insert_triggers.sql).
set role ringfence_owner;
do $$
declare
  t record;
begin
  for t in
    select g.tgname, g.tgrelid::regclass as target, pg_get_triggerdef(g.oid) as definition
    from pg_trigger g join pg_policy p on p.polrelid = g.tgrelid and p.polname = 'tenant'
    where not g.tgisinternal and (g.tgtype & 5) = 5 and pg_get_triggerdef(g.oid) like '%new.company_id IS NOT NULL%'
  loop
    execute format('drop trigger %I on %s', t.tgname, t.target);
    execute replace(t.definition, ' WHEN (', ' WHEN (current_setting(''app.restoring'', true) is distinct from ''on'' AND ');
  end loop;
end $$;
reset role;
