-- One deal and one user are told of as such.
set role ringfence_owner;

create or replace function app.delete_stage(stage_id uuid) returns uuid language plpgsql as $$
declare
  held bigint;
begin
  perform from public.pipeline_stages s where s.id = $1 and not s.is_deleted for update;
  if not found then
    return null;
  end if;
  select count(*) into held from public.deals d where d.stage_id = $1 and not d.is_deleted;
  if held > 0 then
    raise sqlstate 'RF400' using
      message = format('The stage cannot be deleted: %s in it', case held when 1 then '1 deal is' else held || ' deals are' end);
  end if;
  update public.pipeline_stages s set is_deleted = true, updated_at = now() where s.id = $1;
  return $1;
end $$;

create or replace function app.delete_pipeline(pipeline_id uuid) returns uuid language plpgsql as $$
declare
  held bigint;
begin
  perform from public.pipelines p where p.id = $1 and not p.is_deleted for update;
  if not found then
    return null;
  end if;
  perform from public.pipeline_stages s where s.pipeline_id = $1 order by s.id for update;
  select count(*) into held from public.deals d
  where d.stage_id in (select s.id from public.pipeline_stages s where s.pipeline_id = $1) and not d.is_deleted;
  if held > 0 then
    raise sqlstate 'RF400' using
      message = format('The pipeline cannot be deleted: %s in it', case held when 1 then '1 deal is' else held || ' deals are' end);
  end if;
  update public.pipelines p set is_deleted = true, updated_at = now() where p.id = $1;
  return $1;
end $$;

reset role;

create or replace function app.delete_company(company_id uuid) returns boolean language plpgsql
  security definer set search_path = pg_catalog, pg_temp as $$
declare
  people bigint;
  t record;
begin
  perform app.require_super_admin();
  perform from public.companies c where c.id = $1 for update;
  if not found then
    return false;
  end if;
  select count(*) into people from public.users u where u.company_id = $1 and not u.is_deleted;
  if people > 0 then
    raise sqlstate 'RF400' using
      message = format('The company has %s: remove them first', case people when 1 then '1 user' else people || ' users' end);
  end if;
  set constraints all deferred;
  for t in select target from app.protected_table loop
    execute format('delete from %s where tenant_id = $1', t.target) using $1;
  end loop;
  delete from public.notifications n where n.tenant_id = $1;
  update public.users u set company_id = null where u.company_id = $1;
  delete from public.members m where m.tenant_id = $1;
  delete from public.companies c where c.id = $1;
  set constraints all immediate;
  return true;
end $$;
