-- A partitioned table has no blocks of its own, which a backfill would go through without end.
set role ringfence_owner;

create or replace function app.open_backfill(parts int, afresh boolean) returns void language plpgsql as $$
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
    if (select c.relkind from pg_class c where c.oid = t.target) = 'p' then
      raise feature_not_supported using message = format('%1$s has historical rows and is partitioned, and a backfill goes through a table by its blocks. Give them their company by hand, a few thousand at a time: update public.%1$I x set company_id = tenant_id where company_id is null and exists (select from companies c where c.id = x.tenant_id)', t.table_name);
    end if;
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

reset role;
