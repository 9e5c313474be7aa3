-- A backfill that leaves the rows where they are: a row that changes in no index, and finds room on its page, needs no new
-- entry in any index (a heap-only tuple), which is a fifth of the work and of the log.
set role ringfence_owner;

-- The rows of some blocks are moved in several passes, each of which takes the room that the one before has left.
alter table app.backfill add column pass int not null default 0, add column pass_until bigint not null default 0;

-- Indexes that others stand in for while a backfill runs, from before these are made until they are gone.
create table app.backfill_index (
  target     name not null,
  index_name name primary key,
  definition text not null
);
alter table app.backfill_index enable row level security, force row level security;

-- An index without the company.
create function app.without_company(definition text) returns text language sql immutable
  return replace(replace(replace(replace(definition, ' INCLUDE (company_id)', ''), ' INCLUDE (company_id, ', ' INCLUDE ('),
    ' AND (company_id IS NOT NULL)', ''), ' WHERE (company_id IS NOT NULL)', '');

-- The indexes in which company_id stands, of tables under way of which much is to be moved. None of a table of which an index
-- cannot do without it: a unique key that holds for historical rows, too, would meet rows that whoever writes cannot see. Only
-- that of the texts may for a while, for no two of them have the same number with the provider, and the second is passed over.
create function app.backfill_large_indexes(from_rows bigint) returns table (target name, index_name name, definition text) language sql stable as $$
  with under_way as (
    select b.target, format('public.%I', b.target)::regclass as relation from app.backfill b where b.finished_at is null group by b.target
  ), large as (
    select u.* from under_way u join pg_class c on c.oid = u.relation
    where (select coalesce(sum(r.row_count), 0) from app.backfill_before r where r.target = u.target)
      - (select coalesce(sum(cardinality(r.ids)), 0) from app.backfill_batch r where r.target = u.target) >= greatest(from_rows, c.reltuples / 5)
  ), indexes as (
    select l.target, i.relname, x.indisunique, pg_get_indexdef(i.oid) as definition
    from large l join pg_index x on x.indrelid = l.relation join pg_class i on i.oid = x.indexrelid
    where pg_get_indexdef(i.oid) ~ '\mcompany_id\M'
  )
  select i.target, i.relname, i.definition from indexes i
  where not exists (select from indexes o where o.target = i.target
    and (app.without_company(o.definition) ~ '\mcompany_id\M' or o.indisunique and o.relname <> 'sms_messages_sid_key'))
$$;

-- Statements that change indexes for a backfill, none of which can run in a transaction: whoever owns the tables runs them in
-- the order of the stages, which are make and use, and after the backfill restore, drop, and drop again. Where one of the first
-- two fails, that table keeps its indexes. One session at a time: by the advisory lock (hashtext('ringfence backfill'), 2).
create function app.backfill_index_steps(stage text, from_rows bigint default 100000) returns setof text language plpgsql as $$
declare
  i record;
begin
  perform app.require_bypass();
  if stage not in ('make', 'use', 'restore', 'drop') then
    raise invalid_parameter_value using message = format('the stages are make, use, restore and drop, and not %s', stage);
  end if;
  if stage in ('restore', 'drop') and exists (select from app.backfill b where b.finished_at is null) then
    raise notice 'indexes are restored when the backfill has come to its end: %', (select string_agg(distinct b.target, ', ') from app.backfill b where b.finished_at is null);
    return;
  end if;
  if stage = 'make' then
    insert into app.backfill_index select * from app.backfill_large_indexes(from_rows) on conflict do nothing;
  elsif stage = 'drop' then
    delete from app.backfill_index b where app.is_index(b.index_name) is true and app.is_index(app.stand_in(b.index_name)) is null;
  elsif stage = 'restore' then
    -- What comes in from now on fills the pages.
    return query
      select format('alter table %s reset (fillfactor)', c.oid::regclass)
      from app.backfill b join pg_class c on c.oid = format('public.%I', b.target)::regclass
      where 'fillfactor=70' = any (c.reloptions) and pg_has_role(session_user, c.relowner, 'member') group by c.oid;
  end if;
  for i in
    select b.*, app.stand_in(b.index_name) as stand_in, app.is_index(b.index_name) as is_there, app.is_index(app.stand_in(b.index_name)) as has_stand_in,
      bool_and(coalesce(app.is_index(app.stand_in(b.index_name)), false)) over (partition by b.target) as is_complete
    from app.backfill_index b order by b.target, b.index_name
  loop
    if stage = 'make' and i.is_there and i.has_stand_in is not true then
      if not i.has_stand_in then
        return next format('drop index concurrently if exists public.%I', i.stand_in);
      end if;
      return next regexp_replace(app.without_company(i.definition), '^CREATE (UNIQUE )?INDEX ("[^"]+"|\S+) ON', format('CREATE \1INDEX CONCURRENTLY %I ON', i.stand_in));
    elsif stage = 'use' and i.is_complete and i.is_there is not null then
      return next format('drop index concurrently if exists public.%I', i.index_name);
    elsif stage = 'use' and not i.is_complete and i.is_there and i.has_stand_in is not null or stage = 'drop' and i.is_there then
      return next format('drop index concurrently if exists public.%I', i.stand_in);
    elsif stage = 'restore' and i.is_there is not true then
      if not i.is_there then
        return next format('drop index concurrently if exists public.%I', i.index_name);
      end if;
      return next regexp_replace(i.definition, 'INDEX', 'INDEX CONCURRENTLY');
    end if;
  end loop;
end $$;

create function app.stand_in(index_name name) returns name language sql immutable
  return left(index_name, 54) || '_stand_in';

-- Whether an index of this name can be used; null where there is none.
create function app.is_index(name name) returns boolean language sql stable as $$
  select x.indisvalid from pg_index x where x.indexrelid = to_regclass(format('public.%I', name))
$$;

-- As before, in passes. By the hash of where a row lies a pass takes about as many rows of each page.
create or replace function app.backfill_step(batch int default 2000, out target name, out moved int, out is_done boolean) language plpgsql as $$
declare
  passes constant int := 8;
  mask int := passes - 1;
  waiting bigint;
  b app.backfill;
  width bigint;  -- blocks with about so many rows in each pass
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
  select greatest(1, passes * batch::bigint / case when c.relpages > 0 and c.reltuples > 0 then greatest(1, c.reltuples / c.relpages) else 40 end) into width
  from pg_class c where c.oid = format('public.%I', target)::regclass;
  for n in 1..100 loop
    exit when met or b.next_block >= b.until_block;
    if b.pass = 0 then
      b.pass_until := least(b.next_block + width, b.until_block);
    end if;
    first_row := format('(%s,0)', b.next_block)::tid;
    behind := format('(%s,0)', b.pass_until)::tid;
    if b.pass = 0 then
      execute format('select count(*) from public.%I x where x.ctid >= $1 and x.ctid < $2 and x.company_id is null', target)
        into waiting using first_row, behind;
      -- Few are moved at once.
      mask := case when waiting > batch then passes - 1 else 0 end;
    end if;
    begin
      execute format(
        'with moved as (
           update public.%I x set company_id = x.tenant_id from public.companies c
           where x.ctid >= $1 and x.ctid < $2 and hashtid(x.ctid) & $4 = $5 and x.company_id is null and c.id = x.tenant_id returning x.id
         ), noted as (insert into app.backfill_batch (target, ids) select $3, array_agg(id) from moved having count(*) > 0)
         select count(*) from moved', target) into moved using first_row, behind, target, mask, b.pass;
      met := moved > 0;
    exception when unique_violation then
      met := true;
      moved := 0;
      for one in execute format('select x.id from public.%I x where x.ctid >= $1 and x.ctid < $2 and hashtid(x.ctid) & $3 = $4 and x.company_id is null', target)
          using first_row, behind, mask, b.pass loop
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
    b.pass := (b.pass + 1) & mask;
    if b.pass = 0 then
      b.next_block := b.pass_until;
    end if;
  end loop;
  update app.backfill p
  set next_block = b.next_block, pass = b.pass, pass_until = b.pass_until, row_count = p.row_count + moved, finished_at = case when b.next_block >= b.until_block then clock_timestamp() end
  where p.target = b.target and p.part = b.part;
end $$;

grant execute on function app.backfill_large_indexes(bigint), app.without_company(text), app.backfill_index_steps(text, bigint), app.stand_in(name),
  app.is_index(name) to ringfence_dba;
reset role;
