-- When mails are opened and clicked, what the report on mail reads (contract: analytics), an end for what workflows left, the
-- mailboxes of a list, and which programs fit this schema.
set role ringfence_owner;

-- The oldest program that works with this schema, by the newest migration that it knows. While servers are replaced, those of
-- the version before go on serving. A migration that takes away or changes what older programs use sets it anew, to its own number.
create function app.oldest_program() returns int language sql stable parallel safe return 38;
grant execute on function app.oldest_program() to ringfence_api;

-- The first time of each. Mails from before have none.
alter table emails add column if not exists opened_at timestamptz, add column if not exists clicked_at timestamptz;
grant update (opened_at, clicked_at) on emails to ringfence_api;
create index if not exists emails_opened on emails (tenant_id, sent_at) include (company_id, user_id, opened_at, clicked_at)
  where opened_at is not null and direction = 'outbound' and not is_deleted;
create index if not exists campaign_recipients_sent on campaign_recipients (tenant_id, sent_at)
  include (company_id, user_id, delivered_at, opened_at, clicked_at, bounced_at) where state = 'sent';

-- Deletes what workflows left before a time, at most so many runs and so many events; answers how many rows that were. A run
-- that is not at its end stays, and so does the count of a workflow's runs. Runs are found by the feed of each workflow,
-- events by their ids, which begin with their time.
create function app.forget_workflow_runs(before timestamptz, "limit" int) returns bigint language plpgsql
  security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
  first_id uuid := encode(substring(int8send((extract(epoch from $1) * 1000)::bigint) from 3) || decode(repeat('00', 10), 'hex'), 'hex')::uuid;
  runs bigint;
  events bigint;
begin
  delete from public.workflow_executions x where x.id in (
    select o.id from public.workflows w cross join lateral (
      select r.id from public.workflow_executions r
      where r.tenant_id = w.tenant_id and r.workflow_id = w.id and r.created_at < $1 and r.status <> 'running' and r.completed_at < $1
      order by r.created_at limit $2) o
    limit $2);
  get diagnostics runs = row_count;
  delete from public.workflow_events e where e.id in (
    select o.id from public.workflow_events o where o.id < first_id and o.created_at < $1 order by o.id limit $2);
  get diagnostics events = row_count;
  return runs + events;
end $$;
grant select (workflow_id, status, created_at, completed_at) on workflow_executions to ringfence_platform;
grant select (created_at) on workflow_events to ringfence_platform;

-- The mailboxes of a list such as `"Lovelace, Ada" <ada@x.example>, bob@x.example`, each as it is written, with its address in
-- lower case. A comma between quotes is part of a name.
create function app.mailboxes(list text) returns table (mailbox text, address text) language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp as $$
  select m[1], coalesce(substring(lower(m[1]) from '<([^<>]*)>\s*$'), btrim(lower(m[1])))
  from regexp_matches(list, '((?:"(?:[^"\\]|\\.)*"|[^,"]|"(?!.*"))+)', 'g') m
$$;
grant execute on function app.mailboxes(text) to ringfence_dba;

reset role;
alter function app.forget_workflow_runs(timestamptz, int) owner to ringfence_platform;
grant execute on function app.forget_workflow_runs(timestamptz, int) to ringfence_api;
