-- Notifications follow their user into the first company, as other rows without company do: those that stayed behind were in no
-- archive, and no company whose user had one could be erased. And a backfill is right about users who get a company while it runs.
set role ringfence_owner;
grant select (user_id), update (tenant_id) on notifications to ringfence_platform;

-- As in V0053, but a user who had no company when the run began has no rows there to be compared with: those who came with their
-- rows since are only told.
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
      with compared as (
        select x.id, x.tenant_id as company_id, x.%1$I as user_id, false as is_moved from %2$s x join public.companies c on c.id = x.tenant_id
        where x.company_id is null
        union all
        select x.id, x.company_id, x.%1$I, true from (select unnest(b.ids) as id from app.backfill_batch b where b.target = %3$L) b
        join %2$s x on x.id = b.id where x.company_id is not null
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
      )
      select %3$L::text, coalesce(sum(users), 0)::bigint, coalesce(sum(before), 0)::bigint, coalesce(sum(now), 0)::bigint,
        nullif(concat_ws(', ',
          'companies with more rows: ' || nullif(count(*) filter (where moved > before), 0),
          'companies with other rows: ' || nullif(count(*) filter (where differs), 0)), ''),
        nullif(concat_ws(', ',
          'deleted since, or claimed when their user moved: ' || nullif(sum(before - now) filter (where now < before), 0),
          'came in since, for another run: ' || nullif(sum(now - before) filter (where now > before and moved <= before), 0),
          'given to a colleague since: ' || nullif(sum(given) filter (where now <= before and not differs), 0),
          'came with a user who had no company before: ' || nullif((select sum(now) from of_users where is_late), 0)), '')
      from of_companies
      $query$, t.owner, t.target, t.table_name::name);
  end loop;
end $$;

reset role;

-- As in V0002, with the notifications.
create or replace function app.keep_members() returns trigger language plpgsql
  security definer set search_path = pg_catalog, pg_temp set row_security = on as $$
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
  if old.company_id is null then
    update public.notifications n set tenant_id = new.company_id where n.tenant_id = new.id and n.user_id = new.id;
  end if;
  set constraints all immediate;
  return null;
end $$;

set role ringfence_platform;
update public.notifications n set tenant_id = u.company_id
from public.users u
where n.tenant_id = n.user_id and u.id = n.user_id and u.company_id is not null;
reset role;
