-- Search in deals, quotes and files, as V0006__search.sql makes it for contacts.
do $$
declare
  t text;
begin
  foreach t in array array['deals', 'quotes', 'files'] loop
    if exists (select from pg_opclass where opcname = 'trigrams' and opcnamespace = 'leakproof'::regnamespace) then
      execute format('create index %I on %I using gin (tenant_id, search_text leakproof.trigrams)', t || '_search', t);
      execute format('create function app.%I(pattern text) returns setof %I language sql stable parallel safe
        begin atomic select x.* from public.%I x where x.search_text operator(leakproof.~~~*) $1; end', t || '_containing', t, t);
      execute format('alter function app.%I(text) owner to ringfence_owner', t || '_containing');
    else
      execute format('create index %I on %I using gin (tenant_id, search_text leakproof.gin_trgm_ops)', t || '_search', t);
      execute format('grant select on %I to ringfence_platform', t);
      execute format('create function app.%I(pattern text) returns setof %I language plpgsql stable parallel safe
        security definer set search_path = pg_catalog, pg_temp as $f$
        begin
          return query select x.* from public.%I x
            where x.tenant_id = app.company_id() and (x.company_id is not null or x.owner_id = app.user_id())
              and x.search_text operator(pg_catalog.~~*) $1;
        end $f$', t || '_containing', t, t);
      execute format('alter function app.%I(text) owner to ringfence_platform', t || '_containing');
    end if;
    execute format('revoke execute on function app.%I(text) from public', t || '_containing');
    execute format('grant execute on function app.%I(text) to ringfence_api', t || '_containing');
  end loop;
end $$;
