-- Rows that are deleted, or given to a colleague, while a backfill goes on or after it do not make it wrong: what must hold is
-- that no company has a row that was not its own.
set role ringfence_owner;

-- Compares what each company, and each user in it, had before with what is there now, by table. `problem` says where a company
-- has rows that it had not, and `note` what people have done since.
create function app.verify_backfill() returns table (table_name text, users bigint, rows_before bigint, rows_now bigint, problem text, note text)
  language plpgsql stable as $$
#variable_conflict use_column
declare
  t record;
begin
  perform app.require_bypass();
  for t in select p.target, p.table_name, p.owner from app.protected_table p
      where p.table_name::name in (select b.target from app.backfill b) order by 2 loop
    return query
      with of_users as (
        select company_id, coalesce(b.row_count, 0) as before, coalesce(n.row_count, 0) as now, coalesce(b.checksum, 0) as was, coalesce(n.checksum, 0) as is_now
        from (select * from app.backfill_before p where p.target = t.table_name::name) b
        full join app.backfill_rows(t.target, t.table_name::name, t.owner) n using (company_id, user_id)
      ), of_companies as (
        select company_id, count(*) as users, sum(before)::bigint as before, sum(now)::bigint as now, sum(was) <> sum(is_now) as differs,
          sum(greatest(now - before, 0))::bigint as given
        from of_users group by 1
      ), sums as (
        select coalesce(sum(users), 0)::bigint as users, coalesce(sum(before), 0)::bigint as before, coalesce(sum(now), 0)::bigint as now,
          count(*) filter (where now > before) as have_more, count(*) filter (where now = before and differs) as have_others,
          coalesce(sum(before - now) filter (where now < before), 0)::bigint as gone,
          coalesce(sum(given) filter (where now <= before and not (now = before and differs)), 0)::bigint as given
        from of_companies
      )
      select t.table_name, users, before, now,
        nullif(concat_ws(', ',
          case when have_more > 0 then format('companies with more rows: %s', have_more) end,
          case when have_others > 0 then format('companies with other rows: %s', have_others) end), ''),
        nullif(concat_ws(', ',
          case when gone > 0 then format('deleted since, or claimed when their user moved: %s', gone) end,
          case when given > 0 then format('given to a colleague since: %s', given) end), '')
      from sums;
  end loop;
end $$;
grant execute on function app.verify_backfill() to ringfence_dba;

reset role;
