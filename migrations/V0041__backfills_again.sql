-- Backfills that are run again after what kept rows back was settled, and what they are compared with.
set role ringfence_owner;

-- Takes up every table that has rows to give a company and is not under way; also those that somebody changed, and so moved,
-- while they were passed. `afresh`: a run begins, for which rows that collided may be settled by now, and what is there now is
-- what it is compared with. Otherwise it goes on, and both stay.
create function app.open_backfill(parts int, afresh boolean) returns void language plpgsql as $$
declare
  t record;
  has_rows boolean;
  blocks bigint;
begin
  perform app.require_bypass();
  perform pg_advisory_xact_lock(hashtext('ringfence backfill'));
  for t in select p.target, p.table_name, p.owner from app.protected_table p order by 2 loop
    continue when exists (select from app.backfill b where b.target = t.table_name::name and b.finished_at is null);
    if afresh then
      delete from app.backfill_collision k where k.target = t.table_name::name;
    end if;
    execute format('select exists (select from %s x where x.company_id is null and exists (select from public.companies c where c.id = x.tenant_id)
      and not exists (select from app.backfill_collision k where k.target = %L and k.id = x.id))', t.target, t.table_name) into has_rows;
    continue when not has_rows;
    delete from app.backfill b where b.target = t.table_name::name;
    delete from app.backfill_collision k where k.target = t.table_name::name;
    if afresh then
      delete from app.backfill_before b where b.target = t.table_name::name;
    end if;
    insert into app.backfill_before select t.table_name, r.* from app.backfill_rows(t.target, t.table_name::name, t.owner) r on conflict do nothing;
    blocks := pg_relation_size(t.target) / current_setting('block_size')::bigint;
    insert into app.backfill (target, part, next_block, until_block)
    select t.table_name, n, blocks * (n - 1) / parts, blocks * n / parts from generate_series(1, parts) n;
  end loop;
end $$;

create or replace function app.open_backfill(parts int default 1) returns void language plpgsql as $$
begin
  perform app.require_bypass();
  perform app.open_backfill(parts, false);
end $$;

create or replace procedure app.run_backfill(batch int default 2000, pause float8 default 0, parts int default 1) language plpgsql as $$
declare
  step record;
begin
  perform app.open_backfill(parts, true);
  commit;
  loop
    begin
      select * into step from app.backfill_step(batch);
    exception when lock_not_available or deadlock_detected then
      -- Somebody held a row for long, or each waited for the other: the batch is as before, and tried again.
      select null::name as target, 0 as moved, false as is_done into step;
    end;
    commit;
    if step.is_done then
      perform app.open_backfill(parts, false);
      commit;
      exit when not exists (select from app.backfill b where b.finished_at is null);
    end if;
    perform pg_sleep(case when step.target is null then 0.2 else pause end);
  end loop;
end $$;

-- As before, with the rows changed where they lie: to look each of them up by its key again takes a tenth of the time.
create or replace function app.backfill_step(batch int default 2000, out target name, out moved int, out is_done boolean) language plpgsql as $$
declare
  b app.backfill;
  width bigint;  -- blocks with about so many rows
  first_row tid;
  behind tid;
  met boolean := false;  -- whether there was a row to move
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
    exit when met or b.next_block >= b.until_block;
    first_row := format('(%s,0)', b.next_block)::tid;
    b.next_block := least(b.next_block + width, b.until_block);
    behind := format('(%s,0)', b.next_block)::tid;
    begin
      execute format(
        'with moved as (
           update public.%I x set company_id = x.tenant_id from public.companies c
           where x.ctid >= $1 and x.ctid < $2 and x.company_id is null and c.id = x.tenant_id returning x.id
         ), noted as (insert into app.backfill_batch (target, ids) select $3, array_agg(id) from moved having count(*) > 0)
         select count(*) from moved', target) into moved using first_row, behind, target;
      met := moved > 0;
    exception when unique_violation then
      met := true;
      moved := 0;
      for one in execute format('select x.id from public.%I x where x.ctid >= $1 and x.ctid < $2 and x.company_id is null', target)
          using first_row, behind loop
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
  end loop;
  update app.backfill p
  set next_block = b.next_block, row_count = p.row_count + moved, finished_at = case when b.next_block >= b.until_block then clock_timestamp() end
  where p.target = b.target and p.part = b.part;
end $$;

grant execute on function app.open_backfill(int, boolean) to ringfence_dba;
reset role;
