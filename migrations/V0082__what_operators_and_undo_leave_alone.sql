-- What operators could do to others, and what a backfill and its undo did to rows that were not theirs any more.
set role ringfence_owner;

-- Some statements wait for a lock of a table before it is looked at whether they are allowed, with everybody behind them, and
-- `drop owned by` one of the groups takes the rights of all its members. An event trigger is fired before either. Whoever may
-- become the owner of the tables is no operator, also if they made the roles and so are a member of each.
create function app.refuse_ddl() returns event_trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if not pg_has_role(session_user, 'ringfence_owner', 'member')
     and (pg_has_role(session_user, 'ringfence_operator', 'member') or pg_has_role(session_user, 'ringfence_operator_limited', 'member')
       or pg_has_role(session_user, 'ringfence_staff', 'member')) then
    raise insufficient_privilege using message = format('%s is an administrator''s to say: operators and staff change nothing of the database but rows', tg_tag);
  end if;
end $$;

-- As in V0071, and again where its grants were lost: what was kept from those who write since then stays so.
create or replace function app.open_to_operators(target regclass) returns void language plpgsql as $$
declare
  rule text := 'tenant_id = (select app.operator_company()) and company_id is not null';
  columns text := (select string_agg(c, ', ') from unnest(string_to_array(app.writable_columns(target), ', ')) c
    where not (target = to_regclass('public.twilio_settings') and c in ('is_verified', 'last_verified_at'))
      and not (target = to_regclass('public.emails') and c in ('opened_at', 'clicked_at', 'execution_id'))
      and not (target = to_regclass('public.sms_messages') and c = 'execution_id'));
begin
  execute format('drop policy if exists operator on %s', target);
  execute format('create policy operator on %s to ringfence_operator, ringfence_operator_limited using (%s) with check (%s)', target, rule, rule);
  execute format('grant select on %s to ringfence_operator', target);
  -- An invitation makes a login of the API, the key of a mail hook speaks for the provider, and the rest is done or sent in a
  -- member's name.
  if target <> all (array['public.invitations', 'public.mail_hooks', 'public.workflows', 'public.workflow_events', 'public.workflow_executions',
      'public.workflow_steps', 'public.scheduled_sms', 'public.campaigns', 'public.campaign_recipients']::regclass[]) then
    execute format('grant insert (id, tenant_id, company_id, %s), update (%1$s) on %s to ringfence_operator_write', columns, target);
  end if;
end $$;
alter function app.open_to_operators(regclass) set client_min_messages = warning;

-- Whoever had chosen a company that is taken from them would go on in the one that is left.
create function app.end_connections() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  perform pg_terminate_backend(a.pid) from pg_stat_activity a where a.usesysid = old.role_oid and a.datname = current_database();
  return null;
exception when insufficient_privilege then
  raise warning using message = format('"%s" may be connected, and at work for another company now: end these connections', old.db_role);
  return null;
end $$;
create trigger end_connections after delete on app.operator_grant for each row execute function app.end_connections();

-- As in V0060, of the job that there was, too: who turns one into another kind, or has it do something else, stops it.
create or replace function app.refuse_job() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if new.kind in ('activity_due', 'unanswered') and (tg_op = 'INSERT' or old.kind = new.kind and old.record_id = new.record_id) then
    return new;
  end if;
  raise insufficient_privilege using message = format('no operator starts or stops a job of the kind "%s"',
    case tg_op when 'UPDATE' then old.kind else new.kind end);
end $$;
create or replace trigger harmless before insert or update of user_id, kind, record_id, run_at, attempts, failed_at on jobs for each row
  -- To whom the operators' policies apply.
  when (pg_has_role(current_user, 'ringfence_operator', 'usage') and row_security_active('public.jobs'))
  execute function app.refuse_job();

-- As in V0073, but more rows of a company are a problem only where another company lacks some which were not deleted: what has come
-- in during a run, or between one that was broken off and the next, or back with an archive, was nobody else's.
create or replace function app.verify_backfill() returns table (table_name text, users bigint, rows_before bigint, rows_now bigint, problem text, note text)
  language plpgsql stable as $$
#variable_conflict use_column
declare
  t record;
begin
  perform app.require_bypass();
  for t in select p.target, p.table_name, p.owner from app.protected_table p
      where p.table_name::name in (select b.target from app.backfill b) order by 2 loop
    return query execute format(
      $query$
      with noted as (
        select unnest(b.ids) as id from app.backfill_batch b where b.target = %3$L
      ), compared as (
        select x.id, x.tenant_id as company_id, x.%1$I as user_id, false as is_moved from %2$s x join public.companies c on c.id = x.tenant_id
        where x.company_id is null
        union all
        select x.id, x.company_id, x.%1$I, true from noted b join %2$s x on x.id = b.id where x.company_id is not null
      ), now as (
        select company_id, user_id, count(*) as row_count, sum(hashtextextended(id::text, 0)::numeric) as checksum,
          count(*) filter (where is_moved) as moved, sum(hashtextextended(id::text, 0)::numeric) filter (where is_moved) as moved_checksum
        from compared group by 1, 2
      ), of_users as (
        select company_id, coalesce(b.row_count, 0) as before, coalesce(n.row_count, 0) as now, coalesce(n.moved, 0) as moved,
          coalesce(b.checksum, 0) as was, coalesce(n.checksum, 0) as is_now, coalesce(n.moved_checksum, 0) as is_moved,
          b.row_count is null and exists (select from public.members m where m.tenant_id = n.user_id and m.user_id = n.user_id) as is_late
        from (select * from app.backfill_before p where p.target = %3$L) b full join now n using (company_id, user_id)
      ), of_companies as (
        select company_id, count(*) as users, sum(before) as before, sum(now) as now, sum(moved) as moved, sum(greatest(now - before, 0)) as given,
          sum(moved) = sum(before) and sum(is_moved) <> sum(was)
            or sum(moved) < sum(before) and sum(now) = sum(before) and sum(is_now) <> sum(was) as differs
        from of_users where not is_late group by 1
      ), lack as (
        select coalesce(sum(greatest(before - now, 0)), 0) > (select count(*) from noted b where not exists (select from %2$s x where x.id = b.id)) as is_unexplained
        from of_companies
      )
      select %3$L::text, coalesce(sum(users), 0)::bigint, coalesce(sum(before), 0)::bigint, coalesce(sum(now), 0)::bigint,
        nullif(concat_ws(', ',
          'companies with more rows: ' || nullif(count(*) filter (where moved > before and is_unexplained), 0),
          'companies with other rows: ' || nullif(count(*) filter (where differs), 0)), ''),
        nullif(concat_ws(', ',
          'deleted since, or claimed when their user moved: ' || nullif(sum(before - now) filter (where now < before), 0),
          'came in since, for another run: ' || nullif(sum(now - before) filter (where now > before and moved <= before), 0),
          'came in since the run began: ' || nullif(sum(now - before) filter (where moved > before and not is_unexplained), 0),
          'given to a colleague since: ' || nullif(sum(given) filter (where now <= before and not differs), 0),
          'came with a user who had no company before: ' || nullif((select sum(now) from of_users where is_late), 0)), '')
      from of_companies, lack
      $query$, t.owner, t.target, t.table_name::name);
  end loop;
end $$;


-- Whose each row was, in the order of `ids`; null where it was not noted.
alter table app.backfill_batch add column owners uuid[];

-- As in V0048, and notes that.
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
  owner uuid;
  taken_key name;
  owner_column name;
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
  select p.owner into owner_column from app.protected_table p where p.table_name::name = b.target;
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
           where x.ctid >= $1 and x.ctid < $2 and hashtid(x.ctid) & $4 = $5 and x.company_id is null and c.id = x.tenant_id returning x.id, x.%I as owner
         ), noted as (insert into app.backfill_batch (target, ids, owners) select $3, array_agg(id), array_agg(owner) from moved having count(*) > 0)
         select count(*) from moved', target, owner_column) into moved using first_row, behind, target, mask, b.pass;
      met := moved > 0;
    exception when unique_violation then
      met := true;
      moved := 0;
      for one in execute format('select x.id from public.%I x where x.ctid >= $1 and x.ctid < $2 and hashtid(x.ctid) & $3 = $4 and x.company_id is null', target)
          using first_row, behind, mask, b.pass loop
        begin
          execute format('update public.%I x set company_id = x.tenant_id from public.companies c
            where x.id = $1 and x.company_id is null and c.id = x.tenant_id returning x.id, x.%I', target, owner_column) into moved_one, owner using one;
          if moved_one is not null then
            insert into app.backfill_batch (target, ids, owners) values (backfill_step.target, array[moved_one], array[owner]);
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

-- As in V0058, and texts leave their conversations; but a row that was given to a colleague since stays the company's: it was another one's, and nobody else's. So do a
-- pipeline and its stages in which deals are that stay, which would be on nobody's board.
create or replace function app.undo_backfill_step(out target name, out restored int, out stayed int) language plpgsql as $$
declare
  b app.backfill_batch;
  owner_column name;
  kept text := '';
  targets name[] := array(select p.table_name::name from app.protected_table p
    join pg_attribute a on a.attrelid = p.target::oid and a.attname = 'company_id' and not a.attnotnull);
  finished text;
begin
  perform app.require_bypass();
  select x.* into b from app.backfill_batch x where x.target = any (targets) order by x.id desc limit 1 for update;
  if not found then
    delete from app.backfill_before x where x.target = any (targets);
    delete from app.backfill_collision x where x.target = any (targets);
    delete from app.backfill x where x.target = any (targets);
    if not found then
      select string_agg(distinct x.target, ', ') into finished from app.backfill_batch x;
      if finished is not null then
        raise object_not_in_prerequisite_state using message = format('%s was finished: its rows always have a company now', finished);
      end if;
    end if;
    if 'sms_messages' = any (targets) then
      delete from ops.backfill_conversation;
    end if;
    return;
  end if;
  target := b.target;
  select p.owner into owner_column from app.protected_table p where p.table_name::name = b.target;
  execute format('select from public.users u where u.id in (select x.%I from public.%I x where x.id = any ($1)) order by u.id for share',
    owner_column, target) using b.ids;
  if target in ('pipelines', 'pipeline_stages') then
    -- Which deals become historical is asked in the same way when it is their turn.
    kept := format('and not exists (select from public.deals d where d.tenant_id = x.tenant_id and d.pipeline_id = x.%s and d.company_id is not null
      and not d.is_deleted and not exists (
        select from app.backfill_batch k, unnest(k.ids, k.owners) as n (id, owner), public.users u
        where k.target = ''deals'' and k.target = any ($3) and n.id = d.id and coalesce(n.owner, d.owner_id) = d.owner_id
          and u.id = d.owner_id and u.company_id = d.tenant_id))', case target when 'pipelines' then 'id' else 'pipeline_id' end);
  end if;
  if target = 'sms_messages' then
    perform app.take_conversations(b.ids, b.owners);
  end if;
  execute format('with restored as (
      update public.%1$I x set company_id = null from unnest($1, $2) as noted (id, owner), public.users u
      where x.id = noted.id and x.company_id is not null and x.%2$I = coalesce(noted.owner, x.%2$I) and u.id = x.%2$I and u.company_id = x.tenant_id
        %3$s returning 1)
    select count(*) from restored', target, owner_column, kept) into restored using b.ids, b.owners, targets;
  stayed := cardinality(b.ids) - restored;
  delete from app.backfill_batch x where x.id = b.id;
end $$;


-- A number that another company uses gets its company switched off, as one does that was taken from a company.
create function app.keep_number_beside() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  new.is_active := not exists (select from public.phone_numbers n where app.global_key(n.phone_number) = app.global_key(new.phone_number)
    and n.is_active and not n.is_deleted and n.company_id is not null and n.id <> new.id);
  return new;
end $$;
create trigger beside before update of company_id on phone_numbers for each row
  when (old.company_id is null and new.company_id is not null and new.is_active and not new.is_deleted) execute function app.keep_number_beside();
grant execute on function app.global_key(text) to ringfence_platform, ringfence_dba;

-- As in V0022, without that key, for which none stays.
create or replace function app.backfill_collisions() returns table (table_name text, key_name text, row_count bigint) language plpgsql stable as $$
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
    where i.indisunique and pg_get_expr(i.indpred, i.indrelid) like '%company_id IS NOT NULL%'
      and i.indexrelid::regclass::text <> 'phone_numbers_in_use_key' order by 2, 3
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

reset role;
