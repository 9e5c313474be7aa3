-- Operators who leave although something depends on their role, and users who leave a company while a backfill is undone.
set role ringfence_owner;

-- Ends an operator: their grants, their connections, their role. What a role has in other databases only whoever is there can
-- take away: the role is left without a login and without rights then, and a warning says what it has.
create or replace function app.remove_operator(name name) returns void language plpgsql as $$
declare
  kind text;
  has text;
begin
  perform app.require_operator(name);
  delete from app.operator_grant g where g.db_role = name;
  delete from app.operator_choice c where c.db_role = name;
  execute format('alter role %I nologin', name);
  perform pg_catalog.pg_terminate_backend(a.pid, 2000) from pg_catalog.pg_stat_activity a where a.usename = name;
  begin
    execute format('drop role %I', name);
  exception when dependent_objects_still_exist then
    get stacked diagnostics has = pg_exception_detail;
    for kind in select r.rolname from pg_catalog.pg_auth_members m join pg_catalog.pg_roles r on r.oid = m.roleid
        where m.member = to_regrole(quote_ident(name)) loop
      execute format('revoke %I from %I', kind, name);
    end loop;
    raise warning using message = format('"%s" may do nothing any more, but the role cannot be dropped: %s', name, has),
      hint = format('drop owned by %1$I in each of these databases, then: drop role %1$I', name);
  end;
end $$;

-- As before. Whoever moves while their rows are made historical does so before or after it: in between, rows would be left that
-- nobody sees.
create or replace function app.undo_backfill_step(out target name, out restored int, out stayed int) language plpgsql as $$
declare
  b app.backfill_batch;
  owner_column name;
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
    return;
  end if;
  target := b.target;
  select p.owner into owner_column from app.protected_table p where p.table_name::name = b.target;
  execute format('select from public.users u where u.id in (select x.%I from public.%I x where x.id = any ($1)) order by u.id for share',
    owner_column, target) using b.ids;
  execute format('with restored as (
      update public.%I x set company_id = null from public.users u
      where x.id = any ($1) and x.company_id is not null and u.id = x.%I and u.company_id = x.tenant_id returning 1)
    select count(*) from restored', target, owner_column) into restored using b.ids;
  stayed := cardinality(b.ids) - restored;
  delete from app.backfill_batch x where x.id = b.id;
end $$;

reset role;
