-- Substring search that reads an index. Under row-level security an operator must be leakproof to be an index condition,
-- and `ilike` is not marked so. A superuser can make a leakproof twin of it over the same C function; without one, a
-- function with an explicit tenant does the same. The twin raises on a malformed pattern, and only when a row matches up
-- to there, which would tell: so the API's own login may use it, always through app.contains, which escapes, and people
-- at psql may not name it.
create schema leakproof;
create extension if not exists pg_trgm schema leakproof;
create extension if not exists btree_gin schema leakproof;
grant usage on schema leakproof to ringfence_owner, ringfence_api, ringfence_platform, ringfence_dba;

-- The pattern that finds `part` anywhere, whatever characters it has.
create function app.contains(part text) returns text language sql immutable parallel safe
  return '%' || replace(replace(replace(lower(part), '\', '\\'), '%', '\%'), '_', '\_') || '%';
alter function app.contains(text) owner to ringfence_owner;
revoke execute on function app.contains(text) from public;
grant execute on function app.contains(text) to ringfence_api;

do $$
begin
  if (select rolsuper from pg_roles where rolname = current_user) then
    create function leakproof.ilike(text, text) returns boolean language internal immutable strict parallel safe leakproof as 'texticlike';
    revoke execute on function leakproof.ilike(text, text) from public;
    grant execute on function leakproof.ilike(text, text) to ringfence_owner, ringfence_api;
    create operator leakproof.~~~* (leftarg = text, rightarg = text, function = leakproof.ilike, restrict = iclikesel, join = iclikejoinsel);
    create operator class leakproof.trigrams for type text using gin as
      operator 4 leakproof.~~~* (text, text),
      function 1 btint4cmp(int4, int4),
      function 2 leakproof.gin_extract_value_trgm(text, internal),
      function 3 leakproof.gin_extract_query_trgm(text, internal, int2, internal, internal, internal, internal),
      function 4 leakproof.gin_trgm_consistent(internal, int2, text, int4, internal, internal, internal, internal),
      function 6 (text, text) leakproof.gin_trgm_triconsistent(internal, int2, text, int4, internal, internal, internal),
      storage int4;
    create index contacts_search on contacts using gin (tenant_id, search_text leakproof.trigrams);
    create function app.contacts_containing(pattern text) returns setof contacts language sql stable parallel safe
      begin atomic select c.* from public.contacts c where c.search_text operator(leakproof.~~~*) $1; end;
    alter function app.contacts_containing(text) owner to ringfence_owner;
  else
    create index contacts_search on contacts using gin (tenant_id, search_text leakproof.gin_trgm_ops);
    grant select on contacts to ringfence_platform;
    create function app.contacts_containing(pattern text) returns setof contacts language plpgsql stable parallel safe
      security definer set search_path = pg_catalog, pg_temp as $f$
    begin
      return query select c.* from public.contacts c
        where c.tenant_id = app.company_id() and (c.company_id is not null or c.owner_id = app.user_id())
          and c.search_text operator(pg_catalog.~~*) $1;
    end $f$;
    alter function app.contacts_containing(text) owner to ringfence_platform;
  end if;
end $$;
revoke execute on function app.contacts_containing(text) from public;
grant execute on function app.contacts_containing(text) to ringfence_api;
