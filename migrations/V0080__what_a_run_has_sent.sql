-- What a run has sent is known as its doing, and what comes of it is one deeper. A run does what its workflow said when it was made.
-- Whom a company may not write to is looked for in the form in which it is kept.
set role ringfence_owner;

alter table emails add column execution_id uuid;        -- the run that has sent it
alter table sms_messages add column execution_id uuid;  -- the run that has sent it
alter table workflow_executions
  add column plan jsonb,        -- its workflow's actions when it was made, until it begins; null in one that an older program has made
  add column conditions jsonb;  -- its workflow's conditions when it was made
grant update (execution_id) on emails, sms_messages to ringfence_api;
grant update (plan, conditions) on workflow_executions to ringfence_api;

-- The run whose mail was opened, or whose text has come back or was answered.
create function app.run_behind(event text, record_id uuid) returns uuid language plpgsql stable as $$
begin
  return case $1
    when 'email_opened' then (select e.execution_id from public.emails e where e.id = $2)
    when 'inbound_sms' then (
      select coalesce(
        -- From one of the company's numbers to another: it is the last one that went there.
        (select o.execution_id from public.conversations v join public.sms_messages o on o.conversation_id = v.id
          where v.to_number = i.to_address and not v.is_deleted and v.company_id is not null
            and o.direction = 'outbound' and o.from_address = i.from_address
          order by o.created_at desc, o.id desc limit 1),
        -- Who answers so soon may be a machine.
        (select o.execution_id from public.sms_messages o
          where o.conversation_id = i.conversation_id and o.direction = 'outbound' and o.execution_id is not null
            and o.created_at > i.created_at - interval '2 minutes'
          order by o.created_at desc, o.id desc limit 1))
      from public.sms_messages i where i.id = $2) end;
end $$;
grant execute on function app.run_behind(text, uuid) to ringfence_api;

-- As in V0076, but what a run has sent counts, too, and the run keeps what its workflow says now.
create or replace function app.fire_all(event text, record_ids uuid[], details jsonb[]) returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
  deep int;
  root uuid;
  stopped text;
begin
  if not pg_has_role(session_user, 'ringfence_api', 'member') or not exists (select from public.workflows w
      where w.tenant_id = app.company_id() and w.trigger = $1 and w.status = 'active' and not w.is_deleted and w.company_id is not null) then
    return;
  end if;
  with cause as (
    select s.execution_id as id
    from public.workflow_steps s join public.workflow_executions r on r.id = s.execution_id
    where s.tenant_id = app.company_id() and s.made_in = pg_current_xact_id_if_assigned() and s.status = 'running' and r.status = 'running'
    union all
    select app.run_behind($1, r.id) from unnest($2) r (id) where $1 in ('email_opened', 'inbound_sms')
  )
  select x.depth + 1, coalesce(x.root_id, x.id) into deep, root
  from cause c join public.workflow_executions x on x.tenant_id = app.company_id() and x.id = c.id
  order by x.depth desc limit 1;
  deep := coalesce(deep, 0);
  stopped := case when deep > 5 then 'Stopped: workflows have started each other more than 5 times in a row'
    when (select count(*) from (select from public.workflow_executions x where x.tenant_id = app.company_id() and x.root_id = root limit 1000) led) = 1000
    then 'Stopped: one event has led to more than 1000 runs' end;
  with event as (
    insert into public.workflow_events (event, record_id, details, depth)
    select $1, r.record_id, r.details, deep from unnest($2, $3) as r (record_id, details)
    returning id, record_id, details
  ), run as (
    insert into public.workflow_executions (user_id, workflow_id, event_id, event, record_id, trigger_data, plan, conditions, depth, root_id, status,
      error_message, completed_at)
    select w.owner_id, w.id, e.id, $1, e.record_id,
      jsonb_build_object('event', $1, 'record_id', e.record_id, app.record_kind($1) || '_id', e.record_id) || e.details, w.actions, w.conditions, deep,
      coalesce(root, e.id), case when stopped is null then 'running' else 'failed' end, stopped, case when stopped is not null then now() end
    from event e, public.workflows w
    where w.tenant_id = app.company_id() and w.trigger = $1 and w.status = 'active' and not w.is_deleted and w.company_id is not null
    returning id, user_id, status
  )
  insert into public.jobs (user_id, kind, record_id) select r.user_id, 'workflow_run', r.id from run r where r.status = 'running';
end $$;

-- As in V0061, but in the form in which it is kept (V0062).
create or replace function app.is_suppressed(channel text, address text) returns boolean language sql stable
  return exists (select from public.suppressions s where s.channel = $1 and s.address = app.suppressed_form($1, $2));

reset role;
