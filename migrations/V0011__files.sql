-- Folders and files (contract: files). The content is in the object store, under `object_key`.
set role ringfence_owner;

create table folders (
  id          uuid primary key default app.uuid_v7(),
  tenant_id   uuid not null,
  company_id  uuid,
  owner_id    uuid not null,
  parent_id   uuid,
  name        text not null check (length(name) <= 255),
  description text,
  status      text default 'active' check (length(status) <= 50),
  tags        text[] not null default '{}',
  is_deleted  boolean not null default false,
  created_at  timestamptz not null default now(),
  updated_at  timestamptz not null default now(),
  constraint folders_not_in_itself check (parent_id <> id)
);
select app.protect('folders', 'owner_id');
alter table folders add constraint folders_parent_fkey foreign key (tenant_id, parent_id) references folders (tenant_id, id)
  deferrable initially immediate;
create index folders_by_name on folders (tenant_id, parent_id, name, id) include (company_id, owner_id) where not is_deleted;

create table files (
  id            uuid primary key default app.uuid_v7(),
  tenant_id     uuid not null,
  company_id    uuid,
  owner_id      uuid not null,
  folder_id     uuid,
  name          text not null check (length(name) <= 255),
  original_name text not null check (length(original_name) <= 255),
  file_type     text check (length(file_type) <= 255),  -- MIME type
  size          bigint check (size >= 0),                -- bytes
  sha256        bytea check (length(sha256) = 32),
  object_key    text,                                    -- null when there is no content
  category      text check (length(category) <= 100),
  description   text,
  status        text default 'active' check (length(status) <= 50),
  tags          text[] not null default '{}',
  contact_id    uuid,
  deal_id       uuid,
  is_deleted    boolean not null default false,
  deleted_at    timestamptz,
  created_at    timestamptz not null default now(),
  updated_at    timestamptz not null default now(),
  search_text   text collate "C" generated always as (lower(name || ' ' || original_name || ' ' || coalesce(category, ''))) stored,
  constraint files_folder_fkey foreign key (tenant_id, folder_id) references folders (tenant_id, id) deferrable initially immediate,
  constraint files_contact_fkey foreign key (tenant_id, contact_id) references contacts (tenant_id, id)
    on delete set null (contact_id) deferrable initially immediate,
  constraint files_deal_fkey foreign key (tenant_id, deal_id) references deals (tenant_id, id)
    on delete set null (deal_id) deferrable initially immediate
);
create index files_feed on files (tenant_id, created_at desc, id desc) include (company_id, owner_id) where not is_deleted;
create index files_folder on files (tenant_id, folder_id, created_at desc, id desc) include (company_id, owner_id, size) where not is_deleted;
create index files_category on files (tenant_id, category, created_at desc, id desc) include (company_id, owner_id) where not is_deleted;
create index files_name on files (tenant_id, name) where not is_deleted;
create index files_contact on files (tenant_id, contact_id);
create index files_deal on files (tenant_id, deal_id);
select app.protect('files', 'owner_id');

-- The sweep asks by the id, which is the last part of the key.
grant select (object_key, is_deleted, deleted_at, updated_at) on files to ringfence_platform;

-- What a company's files take, kept up to date by the database, so that asking costs nothing.
alter table companies add column storage_bytes bigint not null default 0, add column file_count bigint not null default 0;

create function app.keep_deletion_time() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  new.deleted_at := case when new.is_deleted then coalesce(new.deleted_at, now()) end;
  return new;
end $$;
create trigger deletion before insert or update of is_deleted on files for each row execute function app.keep_deletion_time();

create function app.keep_storage_use() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  c record;
begin
  -- In the order of the companies, so that two statements that touch several do not wait for each other.
  if tg_op = 'INSERT' then
    for c in select n.tenant_id, sum(coalesce(n.size, 0)) as bytes, count(*) as files from new_files n where not n.is_deleted group by 1 order by 1 loop
      update public.companies set storage_bytes = storage_bytes + c.bytes, file_count = file_count + c.files where id = c.tenant_id;
    end loop;
  elsif tg_op = 'DELETE' then
    for c in select o.tenant_id, sum(coalesce(o.size, 0)) as bytes, count(*) as files from old_files o where not o.is_deleted group by 1 order by 1 loop
      update public.companies set storage_bytes = storage_bytes - c.bytes, file_count = file_count - c.files where id = c.tenant_id;
    end loop;
  else
    for c in select d.tenant_id, sum(d.bytes) as bytes, sum(d.files) as files
        from (select n.tenant_id, coalesce(n.size, 0) as bytes, 1 as files from new_files n where not n.is_deleted
          union all select o.tenant_id, -coalesce(o.size, 0), -1 from old_files o where not o.is_deleted) d
        group by 1 having sum(d.bytes) <> 0 or sum(d.files) <> 0 order by 1 loop
      update public.companies set storage_bytes = storage_bytes + c.bytes, file_count = file_count + c.files where id = c.tenant_id;
    end loop;
  end if;
  return null;
end $$;
create trigger storage_inserted after insert on files referencing new table as new_files
  for each statement execute function app.keep_storage_use();
create trigger storage_updated after update on files referencing old table as old_files new table as new_files
  for each statement execute function app.keep_storage_use();
create trigger storage_deleted after delete on files referencing old table as old_files
  for each statement execute function app.keep_storage_use();

-- Of these objects, named by the ids that end their keys, those that must stay: of a file that is there, or that was
-- deleted after `since`.
create function app.kept_objects(ids uuid[], since timestamptz) returns table (object_key text) language sql stable
  security definer set search_path = pg_catalog, pg_temp
  begin atomic
    select f.object_key from public.files f
    where f.id = any ($1) and f.object_key is not null and (not f.is_deleted or coalesce(f.deleted_at, f.updated_at) > $2);
  end;

-- A name is used once in a folder, by what is uploaded (contract: files).
create function app.new_file_name(folder_id uuid, name text) returns text language plpgsql as $$
begin
  perform app.lock_name('file', concat_ws(' ', folder_id, name));
  if exists (select from public.files f where f.name = $2 and f.folder_id is not distinct from $1 and not f.is_deleted) then
    raise sqlstate 'RF400' using message = 'A file with this name already exists in this folder';
  end if;
  return name;
end $$;
grant execute on function app.new_file_name(uuid, text) to ringfence_api;

-- Where a folder may go: not into itself or below. Who moves folders waits for the others who do, or two moves that are
-- right by themselves would close a circle.
create function app.new_parent(folder_id uuid, parent_id uuid) returns uuid language plpgsql as $$
begin
  perform app.lock_name('folders', '');
  if parent_id is null then
    return null;
  end if;
  perform from public.folders f where f.id = $2 and not f.is_deleted;
  if not found then
    raise sqlstate 'RF404' using message = 'Folder';
  end if;
  if exists (
    with recursive above as (
      select f.id, f.parent_id from public.folders f where f.id = $2
      union select f.id, f.parent_id from public.folders f join above a on f.id = a.parent_id
    )
    select from above a where a.id = $1
  ) then
    raise sqlstate 'RF400' using message = 'A folder cannot be moved into itself or one of its subfolders';
  end if;
  return parent_id;
end $$;
grant execute on function app.new_parent(uuid, uuid) to ringfence_api;

reset role;
alter function app.keep_storage_use() owner to ringfence_platform;
alter function app.kept_objects(uuid[], timestamptz) owner to ringfence_platform;
grant execute on function app.kept_objects(uuid[], timestamptz) to ringfence_api;
