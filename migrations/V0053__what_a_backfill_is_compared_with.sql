-- Rows that are deleted, given to a colleague or brought in while a backfill goes on or after it do not make it wrong: what must
-- hold is that no company has got a row that was not its own.
set role ringfence_owner;

-- Compares what each company, and each user in it, had before with what is there now, by table. `problem` says where a company
-- has got rows that it had not, and `note` what people have done since.
create function app.verify_backfill() returns table (table_name text, users bigint, rows_before bigint, rows_now bigint, problem text, note text)
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
          coalesce(b.checksum, 0) as was, coalesce(n.checksum, 0) as is_now, coalesce(n.moved_checksum, 0) as is_moved
        from (select * from app.backfill_before p where p.target = %3$L) b full join now n using (company_id, user_id)
      ), of_companies as (
        select company_id, count(*) as users, sum(before) as before, sum(now) as now, sum(moved) as moved, sum(greatest(now - before, 0)) as given,
          sum(moved) = sum(before) and sum(is_moved) <> sum(was)
            or sum(moved) < sum(before) and sum(now) = sum(before) and sum(is_now) <> sum(was) as differs
        from of_users group by 1
      )
      select %3$L::text, coalesce(sum(users), 0)::bigint, coalesce(sum(before), 0)::bigint, coalesce(sum(now), 0)::bigint,
        nullif(concat_ws(', ',
          'companies with more rows: ' || nullif(count(*) filter (where moved > before), 0),
          'companies with other rows: ' || nullif(count(*) filter (where differs), 0)), ''),
        nullif(concat_ws(', ',
          'deleted since, or claimed when their user moved: ' || nullif(sum(before - now) filter (where now < before), 0),
          'came in since, for another run: ' || nullif(sum(now - before) filter (where now > before and moved <= before), 0),
          'given to a colleague since: ' || nullif(sum(given) filter (where now <= before and not differs), 0)), '')
      from of_companies
      $query$, t.owner, t.target, t.table_name::name);
  end loop;
end $$;
grant execute on function app.verify_backfill() to ringfence_dba;

reset role;
