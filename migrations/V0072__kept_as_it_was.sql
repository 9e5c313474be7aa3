-- Whose a historical record stays, where it goes when its folder is deleted, and domains that were stored with capitals.
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

-- As in V0003, but a domain that another company has but for capitals stays as it is stored, when it is saved again.
create or replace function app.update_any_company(company_id uuid, patch jsonb) returns setof app.company_card language plpgsql
  security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform app.require_super_admin();
  update public.companies c set updated_at = now(), (name, domain, logo_url, timezone, currency, email, phone, address, city, state, zip, settings, plan, status) =
    (select n.name, case when lower(c.domain) = n.domain then c.domain else n.domain end, n.logo_url, n.timezone, n.currency, n.email, n.phone,
       n.address, n.city, n.state, n.zip, c.settings || n.settings, n.plan, n.status
     from jsonb_populate_record(c, $2) n)
  where c.id = $1;
  return query select c.* from app.company_card c where c.id = $1;
end $$;

set role ringfence_platform;
update public.files x set folder_id = null from public.folders f
where f.tenant_id = x.tenant_id and f.id = x.folder_id and f.is_deleted and not x.is_deleted and x.company_id is null;
update public.folders x set parent_id = null from public.folders f
where f.tenant_id = x.tenant_id and f.id = x.parent_id and f.is_deleted and not x.is_deleted and x.company_id is null;

update public.companies c set domain = lower(c.domain)
where c.domain <> lower(c.domain) and not exists (select from public.companies o where lower(o.domain) = lower(c.domain) and o.id <> c.id);
do $$
declare
  c record;
begin
  for c in select lower(o.domain) as domain, string_agg(o.id::text, ', ' order by o.id) as ids from public.companies o group by 1 having count(*) > 1 loop
    raise notice 'The domain % is stored for several companies, in capitals for some: %', c.domain, c.ids;
  end loop;
end $$;
reset role;
