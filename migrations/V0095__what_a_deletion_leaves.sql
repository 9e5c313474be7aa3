-- Nobody's deals and files are lost where somebody at psql deletes what they are in.
set role ringfence_owner;

-- A stage or pipeline is not deleted while deals are in it which whoever deletes it sees, at psql either. The locks wait for deals
-- and stages on their way in, and keep further ones out.
create function app.refuse_held() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  kind text;
  held bigint;
begin
  if tg_table_name = 'pipelines' then
    kind := 'pipeline';
    perform from public.pipelines p where p.id = new.id for update;
    perform from public.pipeline_stages s where s.pipeline_id = new.id order by s.id for update;
    select count(*) into held from public.deals d
    where d.stage_id in (select s.id from public.pipeline_stages s where s.pipeline_id = new.id) and not d.is_deleted;
  else
    kind := 'stage';
    perform from public.pipeline_stages s where s.id = new.id for update;
    select count(*) into held from public.deals d where d.stage_id = new.id and not d.is_deleted;
  end if;
  if held > 0 then
    raise sqlstate 'RF400' using
      message = format('The %s cannot be deleted: %s in it', kind, case held when 1 then '1 deal is' else held || ' deals are' end);
  end if;
  return new;
end $$;
-- An administrator, whom no policy hides anything from, would be held up by deals that go elsewhere by themselves.
create trigger held before update of is_deleted on pipeline_stages for each row
  when (new.is_deleted and not old.is_deleted and row_security_active('public.deals')) execute function app.refuse_held();
create trigger held before update of is_deleted on pipelines for each row
  when (new.is_deleted and not old.is_deleted and row_security_active('public.deals')) execute function app.refuse_held();

-- As in V0049; the trigger refuses.
create or replace function app.delete_stage(stage_id uuid) returns uuid language plpgsql as $$
begin
  update public.pipeline_stages s set is_deleted = true, updated_at = now() where s.id = $1 and not s.is_deleted;
  return case when found then $1 end;
end $$;
create or replace function app.delete_pipeline(pipeline_id uuid) returns uuid language plpgsql as $$
begin
  update public.pipelines p set is_deleted = true, updated_at = now() where p.id = $1 and not p.is_deleted;
  return case when found then $1 end;
end $$;

reset role;

-- As in V0078 and V0079, but only the API's login says whose rows are deleted along or were looked at: what a person at psql has set
-- says nothing.
create or replace function app.leave_deleted_stage() returns trigger language plpgsql
  security definer set search_path = pg_catalog, pg_temp set row_security = on as $$
declare
  who uuid := case when pg_has_role(session_user, 'ringfence_api', 'member') then app.user_id() end;
  pipeline uuid := new.id;
  stage uuid;
begin
  if tg_table_name = 'pipeline_stages' then
    pipeline := new.pipeline_id;
    stage := new.id;
  end if;
  update public.deals d set pipeline_id = n.pipeline_id, stage_id = n.stage_id from app.next_stage(new.tenant_id, pipeline) n
  where d.tenant_id = new.tenant_id and d.pipeline_id = pipeline and (stage is null or d.stage_id = stage)
    and not d.is_deleted and d.company_id is null and d.owner_id is distinct from who and n.stage_id is not null;
  return null;
end $$;
create or replace function app.leave_deleted_folder() returns trigger language plpgsql
  security definer set search_path = pg_catalog, pg_temp set row_security = on as $$
declare
  who uuid := case when pg_has_role(session_user, 'ringfence_api', 'member') then app.user_id() end;
begin
  update public.files x set folder_id = null
  where x.tenant_id = new.tenant_id and x.folder_id = new.id and not x.is_deleted
    and case when x.company_id is null then x.owner_id is distinct from who else new.company_id is null end;
  update public.folders x set parent_id = null
  where x.tenant_id = new.tenant_id and x.parent_id = new.id and not x.is_deleted
    and case when x.company_id is null then x.owner_id is distinct from who else new.company_id is null end;
  return null;
end $$;
