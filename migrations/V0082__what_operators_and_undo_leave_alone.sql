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
      and not (target = to_regclass('public.emails') and c in ('opened_at', 'clicked_at')));
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

reset role;

-- As in V0047. Where a company was chosen, only that one counts: whoever loses it is not at work for another one by that.
create or replace function app.operator_company() returns uuid language sql stable parallel safe
  security definer set search_path = pg_catalog, pg_temp
  begin atomic
    select g.company_id from app.operator_grant g
    where g.db_role = session_user and g.role_oid = to_regrole(quote_ident(session_user))
      and case when coalesce(current_setting('app.operator_choice', true), '') = ''
        then not exists (select from app.operator_grant o
          where o.db_role = session_user and o.role_oid = g.role_oid and o.company_id <> g.company_id)
        else g.company_id = (select c.company_id from app.operator_choice c
          where c.db_role = session_user and c.role_oid = g.role_oid and c.token = current_setting('app.operator_choice', true)) end;
  end;

set role ringfence_owner;
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
reset role;

set role ringfence_owner;

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

reset role;
