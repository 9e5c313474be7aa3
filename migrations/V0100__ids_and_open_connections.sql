-- An operator chooses no id of a row, and whoever takes a company from an operator is told which of their connections go on.
set role ringfence_owner;

-- As in V0094, but new rows get their ids from the database. An id is unique over all companies: by choosing one, an operator would
-- learn whether another company has it, and could take it before an archive of that company brings it back.
create or replace function app.open_to_operators(target regclass) returns void language plpgsql set client_min_messages = warning as $$
declare
  rule text := 'tenant_id = (select app.operator_company()) and company_id is not null';
  columns text := (select string_agg(c, ', ') from unnest(string_to_array(app.writable_columns(target), ', ')) c
    where not (target = to_regclass('public.emails') and c in ('opened_at', 'clicked_at', 'execution_id'))
      and not (target = to_regclass('public.files') and c = 'deleted_at')
      and not (target = to_regclass('public.sms_messages') and c = 'execution_id'));
begin
  execute format('drop policy if exists operator on %s', target);
  execute format('create policy operator on %s to ringfence_operator, ringfence_operator_limited using (%s) with check (%s)', target, rule, rule);
  execute format('grant select on %s to ringfence_operator', target);
  -- An invitation makes a login of the API, the key of a mail hook speaks for the provider, an account and its numbers are what Twilio
  -- says of them, and the rest is done or sent in a member's name.
  if target <> all (array['public.invitations', 'public.mail_hooks', 'public.twilio_settings', 'public.phone_numbers', 'public.workflows',
      'public.workflow_events', 'public.workflow_executions', 'public.workflow_steps', 'public.scheduled_sms', 'public.campaigns',
      'public.campaign_recipients']::regclass[]) then
    execute format('grant insert (tenant_id, company_id, %s), update (%1$s) on %s to ringfence_operator_write', columns, target);
  end if;
end $$;

do $$
declare
  t record;
begin
  for t in select target from app.protected_table loop
    execute format('revoke insert (id) on %s from ringfence_operator_write', t.target);
  end loop;
end $$;

-- As in V0083, but a transaction that cannot be ended goes on in the company if it is of the isolation level repeatable read, which
-- whoever takes the company away has to know.
create or replace function app.end_connections() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  pids int[] := array(select a.pid from pg_stat_activity a where a.usesysid = old.role_oid and a.datname = current_database() order by a.pid);
begin
  perform pg_terminate_backend(pid) from unnest(pids) pid;
  return null;
exception when insufficient_privilege then
  raise warning using
    message = format('"%s" could not be disconnected, and a transaction that is open goes on in the company that was taken away: process %s',
      old.db_role, array_to_string(pids, ', ')),
    hint = format('As a superuser: select pg_terminate_backend(pid) from unnest(%L::int[]) pid; and so that it is done the next time: grant pg_signal_backend to %I',
      pids, current_user);
  return null;
end $$;
reset role;
