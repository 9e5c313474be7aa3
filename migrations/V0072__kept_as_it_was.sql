-- Whose a historical record stays, and where it goes when its folder is deleted.
set role ringfence_owner;

-- Nobody but its user sees a historical record, so whoever got it would not have it.
create function app.next_owner(id uuid, is_historical boolean) returns uuid language plpgsql stable strict parallel safe as $$
begin
  perform app.found_owner($1);
  if is_historical then
    raise sqlstate 'RF400' using message = 'This contact has no company yet: only you see it, and it cannot be given away';
  end if;
  return $1;
end $$;
grant execute on function app.next_owner(uuid, boolean) to ringfence_api;

-- Historical files and folders are hidden from a colleague who deletes the folder that they are in. They stay, and are in none then.
-- Those of whoever deletes it are deleted with it (sql/files/delete_folders.sql, sql/files/delete_in_folders.sql).
create function app.leave_deleted_folder() returns trigger language plpgsql
  security definer set search_path = pg_catalog, pg_temp set row_security = on as $$
begin
  update public.files x set folder_id = null
  where x.tenant_id = new.tenant_id and x.folder_id = new.id and not x.is_deleted and x.company_id is null
    and x.owner_id is distinct from app.user_id();
  update public.folders x set parent_id = null
  where x.tenant_id = new.tenant_id and x.parent_id = new.id and not x.is_deleted and x.company_id is null
    and x.owner_id is distinct from app.user_id();
  return null;
end $$;
create trigger historical after update of is_deleted on folders for each row
  when (new.is_deleted and not old.is_deleted) execute function app.leave_deleted_folder();
grant select (folder_id), update (folder_id) on files to ringfence_platform;
grant select (parent_id, is_deleted), update (parent_id) on folders to ringfence_platform;

reset role;
alter function app.leave_deleted_folder() owner to ringfence_platform;

set role ringfence_platform;
update public.files x set folder_id = null from public.folders f
where f.tenant_id = x.tenant_id and f.id = x.folder_id and f.is_deleted and not x.is_deleted and x.company_id is null;
update public.folders x set parent_id = null from public.folders f
where f.tenant_id = x.tenant_id and f.id = x.parent_id and f.is_deleted and not x.is_deleted and x.company_id is null;
reset role;
