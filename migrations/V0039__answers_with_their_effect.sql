-- The answer to a request with an Idempotency-Key is committed with its effect, so that a key whose request left nothing behind
-- can be told from one of which nobody knows.
set role ringfence_owner;

-- Whether something may have been committed under the key, besides or without its answer. Programs from before do not say so,
-- and of theirs nobody knows: hence the default.
alter table app.idempotency_keys add column committed boolean not null default true;

-- Takes a key for the entered caller, for 24 hours, unless somebody has it: `holder` is the id that has it, the given one or
-- that of another request with what it asked and was answered. Whoever carries a request out has its row locked; one that
-- nobody has locked, and under which nothing was committed, goes to the next who asks. `committed`: whether the one who takes
-- it commits what it does without saying so.
create function app.take_idempotency_key(id uuid, route text, key text, asked bytea, committed boolean)
  returns table (holder uuid, request bytea, status int, content_type text, body bytea) language plpgsql
  security definer set search_path = pg_catalog, pg_temp set row_security = on as $$
#variable_conflict use_column
declare
  tenant uuid := coalesce(app.company_id(), app.user_id());
  hash bytea := sha256(convert_to($3, 'UTF8'));
begin
  -- Each new one takes some of the old ones away.
  delete from app.idempotency_keys k where k.id in (select o.id from app.idempotency_keys o
    where o.created_at < now() - interval '24 hours' order by o.created_at limit 20 for update skip locked);
  loop
    insert into app.idempotency_keys as k (id, tenant_id, company_id, user_id, route, key_hash, request, committed)
    values ($1, tenant, app.company_id(), app.user_id(), $2, hash, $4, $5)
    on conflict on constraint idempotency_keys_tenant_key do nothing;
    if not found then
      update app.idempotency_keys k set id = $1, request = $4, status = null, content_type = null, body = null,
        committed = $5, created_at = now()
      where k.id = (select o.id from app.idempotency_keys o
        where o.tenant_id = tenant and o.user_id = app.user_id() and o.route = $2 and o.key_hash = hash
          and (o.created_at < now() - interval '24 hours' or o.status is null and not o.committed)
        for update skip locked);
    end if;
    return query select k.id, k.request, case when k.created_at >= now() - interval '24 hours' then k.status end, k.content_type, k.body
      from app.idempotency_keys k
      where k.tenant_id = tenant and k.user_id = app.user_id() and k.route = $2 and k.key_hash = hash;
    -- Not there: another request has just given it back.
    exit when found;
  end loop;
end $$;

-- Locks the key's row until the end of the transaction; false when another request has it now.
create function app.hold_idempotency_key(id uuid) returns boolean language plpgsql
  security definer set search_path = pg_catalog, pg_temp set row_security = on as $$
begin
  perform from app.idempotency_keys k where k.id = $1 for update;
  return found;
end $$;

-- Notes that something is committed under the key; false when another request has it now.
create function app.commit_idempotency_key(id uuid) returns boolean language plpgsql
  security definer set search_path = pg_catalog, pg_temp set row_security = on as $$
begin
  update app.idempotency_keys k set committed = true where k.id = $1;
  return found;
end $$;

reset role;

-- For programs from before.
create or replace function app.take_idempotency_key(id uuid, route text, key text, asked bytea)
  returns table (holder uuid, request bytea, status int, content_type text, body bytea) language sql
  security definer set search_path = pg_catalog, pg_temp
  begin atomic
    select t.holder, t.request, t.status, t.content_type, t.body from app.take_idempotency_key($1, $2, $3, $4, true) t;
  end;

create or replace function app.keep_idempotent_answer(id uuid, status int, content_type text, body bytea) returns void
  language sql security definer set search_path = pg_catalog, pg_temp
  begin atomic
    update app.idempotency_keys k set status = $2, content_type = $3, body = $4, committed = true where k.id = $1;
  end;

do $$
declare
  f text;
begin
  foreach f in array array['take_idempotency_key(uuid, text, text, bytea, boolean)', 'hold_idempotency_key(uuid)',
      'commit_idempotency_key(uuid)'] loop
    execute format('alter function app.%s owner to ringfence_platform', f);
    execute format('grant execute on function app.%s to ringfence_api', f);
  end loop;
end $$;
