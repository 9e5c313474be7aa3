-- An event is judged by what was then, nothing that was to leave is lost without a word, and no kind of a company's jobs holds up another.
set role ringfence_owner;

-- Whether an address stands for somebody whose address is not known: such a one can never be written to (RFC 2606).
create function app.reaches_nobody(address text) returns boolean language sql immutable parallel safe
  return lower(app.bare_address(address)) ~ '[@.]invalid$';
grant execute on function app.reaches_nobody(text) to ringfence_api, ringfence_dba, ringfence_operator_write, ringfence_platform;

-- As in V0079, and a contact without an address of their own has none.
create or replace function app.workflow_context(event text, record_id uuid) returns jsonb language plpgsql stable set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
  of_kind text := app.record_kind($1);
  it jsonb;
  deal jsonb;
  contact_id uuid;
  contact jsonb;
begin
  if of_kind = 'deal' then
    select to_jsonb(d) into it from (select id, title, value, currency, stage_id,
      case when exists (select from public.pipeline_stages p where p.id = stage_id and p.company_id is not null) then stage_name end as stage_name,
      pipeline_id, company, contact_id, description,
      expected_close_date, actual_close_date, status, probability, lost_reason, won_reason, tags, owner_id, created_at
      from public.deal_card where id = (select h.id from public.deals h where h.id = $2 and h.company_id is not null) and not is_deleted) d;
  elsif of_kind = 'contact' then
    contact_id := $2;
  elsif of_kind = 'activity' then
    select to_jsonb(a) into it from (select id, type, subject, description, status, due_date, completed_at, priority, contact_id, deal_id,
      location, outcome, owner_id, created_at from public.activities where id = $2 and company_id is not null) a;
  elsif of_kind = 'email' then
    select to_jsonb(e) into it from (select id, direction, status, from_email, to_email, subject, contact_id, sent_at, created_at
      from public.emails where id = $2 and not is_deleted and company_id is not null) e;
  elsif of_kind = 'message' then
    select to_jsonb(m) into it from (select id, direction, status, from_address, to_address, body, contact_id, created_at
      from public.sms_messages where id = $2 and company_id is not null) m;
  end if;
  if of_kind = 'activity' then
    select to_jsonb(d) into deal from (select id, title, value, currency, stage_id,
      case when exists (select from public.pipeline_stages p where p.id = stage_id and p.company_id is not null) then stage_name end as stage_name,
      pipeline_id, company, contact_id, description,
      expected_close_date, status, probability, tags, owner_id, created_at
      from public.deal_card where id = (select h.id from public.deals h where h.id = (it ->> 'deal_id')::uuid and h.company_id is not null) and not is_deleted) d;
  end if;
  contact_id := coalesce(contact_id, (it ->> 'contact_id')::uuid, (deal ->> 'contact_id')::uuid);
  select to_jsonb(c) into contact from (select id, first_name, last_name, concat_ws(' ', first_name, last_name) as name,
    case when not app.reaches_nobody(email) then email end as email, phone, company, title, type, status, owner_id, created_at from public.contacts where id = contact_id and not is_deleted and company_id is not null) c;
  return jsonb_build_object('deal', deal, 'contact', contact, 'record', case of_kind when 'contact' then contact else it end,
      'company', (select jsonb_build_object('id', c.id, 'name', c.name, 'email', c.email, 'phone', c.phone, 'timezone', c.timezone,
        'currency', c.currency) from public.companies c where c.id = app.company_id()),
      'user', (select jsonb_build_object('id', u.id, 'first_name', u.first_name, 'last_name', u.last_name, 'email', u.email, 'phone', u.phone,
        'title', u.title) from public.users u where u.id = app.user_id() and not u.is_deleted))
    || case when of_kind is not null and of_kind <> 'contact' then jsonb_build_object(of_kind, it) else '{}' end;
end $$;

-- As in V0014, and what reaches nobody is not sent.
create or replace function app.keep_email() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  address text;
begin
  foreach address in array string_to_array(concat_ws(',', new.to_email, new.cc, new.bcc), ',') loop
    if app.reaches_nobody(address) then
      raise sqlstate 'RF400' using message = 'Nobody is reached at ' || app.bare_address(address) || ': the real address is not known';
    end if;
    if app.is_suppressed('email', address) then
      raise sqlstate 'RF400' using message = 'One of the recipients has unsubscribed or cannot be reached';
    end if;
  end loop;
  return new;
end $$;

-- What a workflow's conditions can say of the event's records, as these were then: a worker gets to the run later, when the next
-- change may be made already, and would answer for two events with what only the last one left. Kept only where there are conditions, and
-- until the run begins; the company and the owner are no part of the event.
alter table workflow_executions add column at_event jsonb;
grant update (at_event) on workflow_executions to ringfence_api;

-- As in V0080, and the run keeps what its conditions are to be asked of.
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
  ), listener as materialized (
    select w.id, w.owner_id, w.actions, w.conditions, w.conditions <> '[]' and stopped is null as asks from public.workflows w
    where w.tenant_id = app.company_id() and w.trigger = $1 and w.status = 'active' and not w.is_deleted and w.company_id is not null
  ), seen as materialized (
    select e.*, case when exists (select from listener l where l.asks)
      then app.workflow_context($1, e.record_id) - array['company', 'user'] end as at_event
    from event e
  ), run as (
    insert into public.workflow_executions (user_id, workflow_id, event_id, event, record_id, trigger_data, plan, conditions, at_event, depth, root_id,
      status, error_message, completed_at)
    select w.owner_id, w.id, e.id, $1, e.record_id,
      jsonb_build_object('event', $1, 'record_id', e.record_id, app.record_kind($1) || '_id', e.record_id) || e.details, w.actions, w.conditions,
      case when w.asks then e.at_event end, deep,
      coalesce(root, e.id), case when stopped is null then 'running' else 'failed' end, stopped, case when stopped is not null then now() end
    from seen e, listener w
    returning id, user_id, status
  )
  insert into public.jobs (user_id, kind, record_id) select r.user_id, 'workflow_run', r.id from run r where r.status = 'running';
end $$;

-- As in V0015, and a campaign that counted as failed, for no mail was known to have left, is sent when one has arrived and nobody waits.
create or replace function app.count_campaign() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  c record;
begin
  for c in select n.tenant_id, n.campaign_id,
      sum((n.state = 'sent')::int - (o.state = 'sent')::int) as sent,
      sum((n.delivered_at is not null)::int - (o.delivered_at is not null)::int) as delivered,
      sum((n.opened_at is not null)::int - (o.opened_at is not null)::int) as opened,
      sum((n.clicked_at is not null)::int - (o.clicked_at is not null)::int) as clicked,
      sum((n.bounced_at is not null)::int - (o.bounced_at is not null)::int) as bounced
    from new_rows n join old_rows o on o.id = n.id group by 1, 2 order by 1, 2 loop
    if (c.sent, c.delivered, c.opened, c.clicked, c.bounced) <> (0, 0, 0, 0, 0) then
      update public.campaigns set total_sent = total_sent + c.sent, total_delivered = total_delivered + c.delivered,
        total_opened = total_opened + c.opened, total_clicked = total_clicked + c.clicked, total_bounced = total_bounced + c.bounced,
        updated_at = now()
      where tenant_id = c.tenant_id and id = c.campaign_id;
      if c.sent > 0 then
        update public.campaigns x set status = 'sent', error_message = null
        where x.tenant_id = c.tenant_id and x.id = c.campaign_id and x.status = 'failed' and not exists (select from public.campaign_recipients r
          where r.tenant_id = x.tenant_id and r.campaign_id = x.id and r.state in ('pending', 'sending'));
      end if;
    end if;
  end loop;
  return null;
end $$;

-- The queue, kind by kind. The index in which a company's kinds were mixed goes: each claim writes every index.
create index if not exists jobs_of_kind_due on jobs (tenant_id, kind, run_at) where failed_at is null;
drop index if exists jobs_of_tenant_due;

grant insert on notifications to ringfence_platform;
grant select (is_deleted, scheduled_at, campaign_name, error_message) on campaigns to ringfence_platform;

-- Tells who asked for it, or the company's admins when they have left it, what has not left. The arguments: the title; the message, with
-- the column's value and the reason in it; that column; a link, or nothing. What the DBA's commands cancel they report themselves.
create function app.tell_unsent() returns trigger language plpgsql
  security definer set search_path = pg_catalog, pg_temp set row_security = on as $$
declare
  what text := to_jsonb(new) ->> tg_argv[2];
begin
  if pg_has_role(session_user, 'ringfence_dba', 'member') then
    return null;
  end if;
  insert into public.notifications (tenant_id, company_id, user_id, title, message, type, link)
  select new.tenant_id, new.company_id, u.id, tg_argv[0], format(tg_argv[1], what, new.error_message), 'error', nullif(tg_argv[3], '')
  from public.users u
  where u.company_id = new.company_id and not u.is_deleted and case
    when exists (select from public.users a where a.id = new.user_id and a.company_id = new.company_id and not a.is_deleted) then u.id = new.user_id
    else app.is_team_admin(u.user_role) and u.status = 'active' and u.is_active end;
  return null;
end $$;

-- One that Twilio refused is among the messages, as `failed`; before that there is no message.
create trigger tell_unsent after update of is_cancelled on scheduled_sms for each row
  when (new.company_id is not null and not old.is_sent and not old.is_cancelled and new.is_cancelled and new.error_message is not null)
  execute function app.tell_unsent('A text was not sent', 'The text to %s was not sent: %s', 'to_address', '/inbox');
create trigger tell_unsent after update of status on campaigns for each row
  when (new.company_id is not null and old.status <> 'failed' and new.status = 'failed')
  execute function app.tell_unsent('A campaign failed', 'The campaign "%s" failed: %s', 'campaign_name', '');

-- A text that was cancelled while Twilio was asked stays so, whatever becomes of it there: a program before this takes it back.
create function app.keep_cancellation() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  new.is_cancelled := true;
  return new;
end $$;
create trigger keep_cancellation before update of is_sent on scheduled_sms for each row
  when (old.is_sent and old.is_cancelled and not new.is_sent) execute function app.keep_cancellation();

-- Takes jobs that are due, turn by turn from each company, and within it from each kind, so that neither many jobs nor many of one kind
-- hold up the others. `running` and `running_kinds` are the jobs that the worker has under way, each by its company and kind: they
-- have had their turn, and of one company no more are taken than make `of_company` with them, of one kind `of_kind`.
create function app.claim_jobs(kinds text[], "limit" int, of_company int, of_kind int, running uuid[], running_kinds text[])
  returns table (id uuid, company_id uuid, user_id uuid, kind text, record_id uuid) language sql
  security definer set search_path = pg_catalog, pg_temp
  begin atomic
    with recursive queue as (
      (select j.tenant_id, j.kind from public.jobs j
        where j.failed_at is null and exists (select from public.jobs d where d.failed_at is null and d.run_at <= now())
        order by j.tenant_id, j.kind limit 1)
      union all
      select n.tenant_id, n.kind from queue q cross join lateral (
        select j.tenant_id, j.kind from public.jobs j
        where j.failed_at is null and (j.tenant_id, j.kind) > (q.tenant_id, q.kind)
        order by j.tenant_id, j.kind limit 1) n
    ), under_way as (
      select r.company, r.kind, count(*) as number from unnest($5, $6) r (company, kind) group by 1, 2
    ), due as (
      select d.id, d.run_at, q.tenant_id, coalesce(u.number, 0) + row_number() over (partition by q.tenant_id, q.kind order by d.run_at) as turn
      from queue q
      left join under_way u on u.company = q.tenant_id and u.kind = q.kind
      cross join lateral (
        select j.id, j.run_at from public.jobs j
        -- By the pair, for which only the index of the company's kind serves: with that of the time alone, which looks better while the
        -- statistics know of no job that is due, each kind of each company would read all that are.
        where j.tenant_id = q.tenant_id and j.kind = q.kind and j.company_id is not null and j.failed_at is null and (j.kind, j.run_at) <= (q.kind, now())
        order by j.run_at limit greatest(least($2, $4 - coalesce(u.number, 0)), 0) for update skip locked) d
      where q.kind = any ($1)
    ), in_turn as (
      select d.id, d.run_at, coalesce((select sum(u.number) from under_way u where u.company = d.tenant_id), 0)
        + row_number() over (partition by d.tenant_id order by d.turn, d.run_at) as turn
      from due d
    ), taken as (
      select i.id from in_turn i where i.turn <= $3 order by i.turn, i.run_at limit $2
    ), claimed as (
      update public.jobs j set run_at = now() + interval '5 minutes', attempts = j.attempts + (j.attempts < 10)::int,
        failed_at = case when j.attempts >= 10 then now() end,
        last_error = case when j.attempts >= 10 then format('given up after %s claims', j.attempts) else j.last_error end
      from taken where j.id = taken.id
      returning j.id, j.company_id, j.user_id, j.kind, j.record_id, j.failed_at
    )
    select c.id, c.company_id, c.user_id, c.kind, c.record_id from claimed c where c.failed_at is null;
  end;

reset role;
alter function app.tell_unsent() owner to ringfence_platform;
alter function app.claim_jobs(text[], int, int, int, uuid[], text[]) owner to ringfence_platform;
grant execute on function app.claim_jobs(text[], int, int, int, uuid[], text[]) to ringfence_api;

-- For a program that says of companies only that they have enough under way.
create or replace function app.claim_jobs(kinds text[], "limit" int, busy uuid[])
  returns table (id uuid, company_id uuid, user_id uuid, kind text, record_id uuid) language sql
  security definer set search_path = pg_catalog, pg_temp
  begin atomic
    select c.id, c.company_id, c.user_id, c.kind, c.record_id
    from app.claim_jobs($1, $2, 16, 16, (select array_agg(b.id) from unnest($3) b (id), generate_series(1, 16)), array[]::text[]) c;
  end;

-- Campaigns whose time came between the look at the clock and the insert have no job and would wait for ever. They may be months old:
-- whoever still wants one sends it.
set role ringfence_platform;
with failed as (
  update public.campaigns c set status = 'failed', updated_at = now(),
    error_message = 'It was not sent, because its time had come before it was made: send it, if it is still wanted'
  where c.company_id is not null and not c.is_deleted and c.status = 'scheduled' and c.scheduled_at <= now()
    and not exists (select from public.jobs j where j.tenant_id = c.tenant_id and j.kind = 'campaign' and j.record_id = c.id)
  returning c.tenant_id, c.company_id, c.campaign_name, c.error_message
)
insert into public.notifications (tenant_id, company_id, user_id, title, message, type)
select f.tenant_id, f.company_id, u.id, 'A campaign failed', format('The campaign "%s" failed: %s', f.campaign_name, f.error_message), 'error'
from failed f join public.users u on u.company_id = f.company_id
where not u.is_deleted and u.status = 'active' and u.is_active and app.is_team_admin(u.user_role);
reset role;
