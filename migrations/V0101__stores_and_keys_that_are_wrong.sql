-- A store of files that is not the one it was, and credentials that nobody can open, are noticed when a server starts.
set role ringfence_owner;

-- A database that has had a store does not take an empty folder for a new one: a volume may not be mounted.
alter table ops.database_identity add column if not exists has_store boolean not null default false;
grant update (has_store) on ops.database_identity to ringfence_platform, ringfence_dba;

reset role;

-- Whether the database has used a store of files, or has files with content.
create function app.had_store() returns boolean language sql stable
  security definer set search_path = pg_catalog, pg_temp set row_security = on as $$
  select i.has_store or exists (select from public.files f where f.object_key is not null) from ops.database_identity i
$$;
revoke execute on function app.had_store() from public;
alter function app.had_store() owner to ringfence_platform;
grant execute on function app.had_store() to ringfence_api;

-- Notes that it uses one.
create function app.note_store() returns void language sql
  security definer set search_path = pg_catalog, pg_temp set row_security = on as $$
  update ops.database_identity set has_store = true where not has_store
$$;
revoke execute on function app.note_store() from public;
alter function app.note_store() owner to ringfence_platform;
grant execute on function app.note_store() to ringfence_api;

-- The ids of the keys under which credentials are sealed, which are their first four bytes, and how many each has sealed.
create function app.sealing_keys(out id bytea, out credentials bigint) returns setof record language sql stable
  security definer set search_path = pg_catalog, pg_temp set row_security = on as $$
  select substr(s.sealed, 1, 4), count(*) from app.company_secrets s group by 1 order by 1
$$;
revoke execute on function app.sealing_keys() from public;
alter function app.sealing_keys() owner to ringfence_platform;
grant execute on function app.sealing_keys() to ringfence_api;
