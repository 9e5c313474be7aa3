-- What an administrator's commands keep: which rows came from the old database, and what was erased. Only ringfence_dba
-- reaches the schema.
set role ringfence_owner;

create schema ops;
grant usage on schema ops to ringfence_dba;

-- Rows that were brought over, so that a second import brings only new ones, and none again that was deleted here since.
create table ops.imported (
  table_name text collate "C" not null,
  id         uuid not null,
  primary key (table_name, id)
);

-- That something was erased, without saying what it was.
create table ops.erasures (
  id      uuid primary key default app.uuid_v7(),
  done_at timestamptz not null default now(),
  done_by name not null default session_user,
  kind    text not null check (kind in ('company', 'person')),
  counts  jsonb not null
);
alter table ops.imported enable row level security, force row level security;
alter table ops.erasures enable row level security, force row level security;
grant select, insert on ops.imported, ops.erasures to ringfence_dba;
revoke update, delete, truncate, references, trigger on ops.imported, ops.erasures from ringfence_dba;

create function ops.refuse() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  raise exception 'the record of erasures is only added to';
end $$;
create trigger append_only before update or delete or truncate on ops.erasures for each statement execute function ops.refuse();

-- An administrator's statement is in nobody's name: it fires nothing.
grant execute on function app.fire(text, uuid, jsonb), app.is_blocked(text, text) to ringfence_dba;

-- As V0009__activities.sql has it, with the tenant in the deletion, which for somebody who bypasses the policies would
-- otherwise look at every job for each row.
create or replace function app.follow_activity() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  was public.activities;
begin
  if tg_op = 'UPDATE' then
    was := old;
  end if;
  if new.status = 'completed' and was.status is distinct from 'completed' then
    perform app.fire('activity_completed', new.id, '{}');
  end if;
  if new.status not in ('pending', 'overdue') or new.due_date is null or new.due_date < now() - interval '1 day' then
    delete from public.jobs j where j.tenant_id = new.tenant_id and j.kind = 'activity_due' and j.record_id = new.id;
  elsif new.due_date is distinct from was.due_date or was.status not in ('pending', 'overdue') then
    insert into public.jobs as j (tenant_id, company_id, user_id, kind, record_id, run_at)
    values (new.tenant_id, new.company_id, new.owner_id, 'activity_due', new.id, new.due_date)
    on conflict on constraint jobs_record_key do update set run_at = excluded.run_at, attempts = 0, failed_at = null, last_error = null;
  end if;
  return null;
end $$;

reset role;

-- The import keeps what it compares in temporary tables.
do $$
begin
  execute format('grant temporary on database %I to ringfence_dba', current_database());
end $$;
