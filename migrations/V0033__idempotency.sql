-- Requests that are done once, however often they are sent (the header Idempotency-Key), and how far the queue is behind.
set role ringfence_owner;

-- A key is taken before its request is carried out, and has its answer afterwards. What was asked and answered is sealed by
-- the server (src/seal.rs); the key is a hash. The tenant of somebody without company is their own id.
create table app.idempotency_keys (
  id           uuid primary key,
  tenant_id    uuid not null,
  company_id   uuid,
  user_id      uuid not null,
  route        text not null,
  key_hash     bytea not null,
  request      bytea not null,
  status       int,  -- null while it is under way, and for good when its end was not heard of
  content_type text,
  body         bytea,
  created_at   timestamptz not null default now(),
  constraint idempotency_keys_tenant_key unique (tenant_id, user_id, route, key_hash),
  constraint idempotency_keys_member_fkey foreign key (tenant_id, user_id) references members (tenant_id, user_id)
    on delete cascade deferrable initially immediate
);
create index idempotency_keys_age on app.idempotency_keys (created_at);
alter table app.idempotency_keys enable row level security, force row level security;
create policy platform on app.idempotency_keys to ringfence_platform using (true) with check (true);
grant select, insert, update, delete on app.idempotency_keys to ringfence_platform;

-- Takes a key for the entered caller, for 24 hours. `holder` is the id that has it: the given one, or that of an earlier
-- request with what it asked and was answered.
create function app.take_idempotency_key(id uuid, route text, key text, asked bytea)
  returns table (holder uuid, request bytea, status int, content_type text, body bytea) language plpgsql
  security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
  tenant uuid := coalesce(app.company_id(), app.user_id());
  hash bytea := sha256(convert_to($3, 'UTF8'));
begin
  -- Each new one takes some of the old ones away.
  delete from app.idempotency_keys k where k.id in (select o.id from app.idempotency_keys o
    where o.created_at < now() - interval '24 hours' order by o.created_at limit 20 for update skip locked);
  loop
    insert into app.idempotency_keys as k (id, tenant_id, company_id, user_id, route, key_hash, request)
    values ($1, tenant, app.company_id(), app.user_id(), $2, hash, $4)
    on conflict on constraint idempotency_keys_tenant_key do update
      set id = excluded.id, request = excluded.request, status = null, content_type = null, body = null, created_at = now()
      where k.created_at < now() - interval '24 hours';
    return query select k.id, k.request, k.status, k.content_type, k.body from app.idempotency_keys k
      where k.tenant_id = tenant and k.user_id = app.user_id() and k.route = $2 and k.key_hash = hash;
    -- Not there: another request has just given it back.
    exit when found;
  end loop;
end $$;

create function app.keep_idempotent_answer(id uuid, status int, content_type text, body bytea) returns void language sql
  security definer set search_path = pg_catalog, pg_temp
  begin atomic
    update app.idempotency_keys k set status = $2, content_type = $3, body = $4 where k.id = $1;
  end;

create function app.release_idempotency_key(id uuid) returns void language sql
  security definer set search_path = pg_catalog, pg_temp
  begin atomic
    delete from app.idempotency_keys k where k.id = $1 and k.status is null;
  end;

-- Jobs that are due and not begun, of all companies together, and for how many seconds the oldest has been.
create function app.queue_state() returns table (due bigint, seconds double precision) language sql stable
  security definer set search_path = pg_catalog, pg_temp
  begin atomic
    select count(*), coalesce(extract(epoch from now() - min(j.run_at)), 0)::double precision
    from public.jobs j where j.failed_at is null and j.run_at <= now();
  end;

reset role;
do $$
declare
  f text;
begin
  foreach f in array array['take_idempotency_key(uuid, text, text, bytea)', 'keep_idempotent_answer(uuid, int, text, bytea)',
      'release_idempotency_key(uuid)', 'queue_state()'] loop
    execute format('alter function app.%s owner to ringfence_platform', f);
    execute format('grant execute on function app.%s to ringfence_api', f);
  end loop;
end $$;
