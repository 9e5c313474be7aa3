-- Whose a telephone number is; what comes with the company of historical rows, and where they go when what they are in is deleted.
set role ringfence_owner;

-- A number as people write it, in E.164, by the rules of src/telephony.rs: with + it is whole, 03… is Pakistan's, ten digits are
-- America's. So is one with 00, and any other that has the digits of a whole one. Null without digits.
create function app.e164(written text) returns text language sql immutable strict parallel safe
  return (select case
      when d = '' then null
      when written ~ '^[^0-9]*\+' then '+' || d
      when d like '00%' then '+' || ltrim(d, '0')
      when d like '03%' then '+92' || substr(d, 2)
      when length(d) = 10 then '+1' || d
      else '+' || d end
    from (select regexp_replace(written, '\D', '', 'g')) w (d));

-- The digits of all that app.e164 reads as this number.
create function app.written_digits(number text) returns text[] language sql immutable strict parallel safe
  return (select array[d, '00' || d]
      || case when d ~ '^1\d{10}$' then array[right(d, 10)] when d like '923%' then array['0' || substr(d, 3)] end
    from (select regexp_replace(number, '\D', '', 'g')) w (d));

-- The company's contact who has a number, which is in E.164: the oldest.
create function app.contact_of_number(number text) returns uuid language plpgsql stable as $$
declare
  contact_id uuid;
begin
  select c.id into contact_id from public.contacts c
  where c.phone_digits = any (app.written_digits(number)) and app.e164(c.phone) = app.e164(number)
    and c.phone_digits <> '' and not c.is_deleted and c.company_id is not null
  order by c.created_at, c.id limit 1;
  return contact_id;
end $$;
grant execute on function app.e164(text), app.written_digits(text), app.contact_of_number(text) to ringfence_api, ringfence_dba;

-- Gives texts of companies that are in no conversation the one with their number, as app.keep_message does for new ones. Answers
-- the conversations, whether they are new, and when they were last spoken in before. Everything is read by its key: PostgreSQL still
-- believes that there are no conversations, and that hardly a text has a company.
create function app.give_conversations(texts uuid[]) returns table (id uuid, is_new boolean, last_message_at timestamptz) language plpgsql
  set enable_seqscan = off as $$
#variable_conflict use_column
begin
  -- Each is held before its texts, as by whoever reads or deletes one of them, and all of them in the same order.
  return query
    with text as materialized (
      select s.tenant_id, s.company_id, s.user_id, s.id, s.created_at, s.conversation_id,
        app.customer_of(s.direction, s.from_address, s.to_address) as customer,
        left(case s.direction when 'inbound' then s.to_address else s.from_address end, 50) as own
      from public.sms_messages s where s.id = any ($1)
    )
    insert into public.conversations as c (tenant_id, company_id, user_id, to_number, from_twilio_number, last_message_at)
    select t.tenant_id, t.company_id, (array_agg(t.user_id order by t.created_at, t.id))[1], t.customer,
      (array_agg(t.own order by t.created_at, t.id))[1], max(t.created_at)
    from text t where t.company_id is not null and t.conversation_id is null
    group by t.tenant_id, t.company_id, t.customer order by t.tenant_id, t.customer
    on conflict (tenant_id, to_number) where not is_deleted and company_id is not null do update set last_message_at = c.last_message_at
    returning c.id, c.xmax = 0, c.last_message_at;
  with text as materialized (
    select s.id, s.tenant_id, s.company_id, s.conversation_id, app.customer_of(s.direction, s.from_address, s.to_address) as customer
    from public.sms_messages s where s.id = any ($1) for no key update
  ), given as (
    update public.sms_messages s set conversation_id = c.id
    from text t join public.conversations c on c.tenant_id = t.tenant_id and c.to_number = t.customer and not c.is_deleted and c.company_id is not null
    where s.id = t.id and t.company_id is not null and t.conversation_id is null
    returning c.id, s.created_at, s.direction = 'inbound' and s.read_at is null as is_unread
  )
  update public.conversations c set message_count = c.message_count + g.texts, unread_count = c.unread_count + g.unread,
    last_message_at = greatest(c.last_message_at, g.last_at)
  from (select id, count(*) as texts, count(*) filter (where is_unread) as unread, max(created_at) as last_at from given group by 1) g
  where c.id = g.id;
end $$;

-- The number with which a text is in conversation; historical ones may be longer than a number is.
create function app.customer_of(direction text, from_address text, to_address text) returns text language sql immutable parallel safe
  return left(case direction when 'inbound' then from_address else to_address end, 50);

-- In which batches of a backfill the texts have their conversations, and these as they were before.
alter table app.backfill_batch add column has_conversations boolean not null default false;
create table ops.backfill_conversation (
  id              uuid primary key,
  is_new          boolean not null,
  last_message_at timestamptz not null
);
alter table ops.backfill_conversation enable row level security, force row level security;
grant select, insert, delete on ops.backfill_conversation to ringfence_dba;

-- Gives some texts of a backfill their conversations, whom whoever writes or reads waits for meanwhile. `texts` is how many it was;
-- when none is left, or others are at them (`not is_done`), it is 0. In the end come texts that were given their company otherwise.
create function app.backfill_conversations_step(out texts int, out is_done boolean) language plpgsql as $$
declare
  part constant int := 500;
  b app.backfill_batch;
  ids uuid[] := '{}';
begin
  perform app.require_bypass();
  perform set_config('synchronous_commit', 'off', true);
  loop
    select x.* into b from app.backfill_batch x where x.target = 'sms_messages' and not x.has_conversations order by x.id limit 1 for update skip locked;
    exit when b.id is null;
    ids := array(select s.id from (select x.* from public.sms_messages x where x.id = any (b.ids) offset 0) s
      where s.company_id is not null and s.conversation_id is null limit part);
    exit when ids <> '{}';
    update app.backfill_batch x set has_conversations = true where x.id = b.id;
  end loop;
  is_done := false;
  if b.id is not null then
    insert into ops.backfill_conversation select * from app.give_conversations(ids) on conflict do nothing;
  elsif not exists (select from app.backfill_batch x where x.target = 'sms_messages' and not x.has_conversations) then
    ids := array(select s.id from public.sms_messages s where s.company_id is not null and s.conversation_id is null limit part);
    perform app.give_conversations(ids);
    is_done := ids = '{}';
  end if;
  texts := cardinality(ids);
end $$;

create or replace procedure app.run_backfill(batch int default 2000, pause float8 default 0, parts int default 1) language plpgsql as $$
declare
  step record;
begin
  perform app.hold_backfill(false);
  perform app.open_backfill(parts, true);
  commit;
  loop
    begin
      select * into step from app.backfill_step(batch);
    exception when lock_not_available or deadlock_detected then
      -- Somebody held a row for long, or each waited for the other: the batch is as before, and tried again.
      select null::name as target, 0 as moved, false as is_done into step;
    end;
    commit;
    if step.is_done then
      perform app.open_backfill(parts, false);
      commit;
      exit when not exists (select from app.backfill b where b.finished_at is null);
    end if;
    perform pg_sleep(case when step.target is null then 0.2 else pause end);
  end loop;
  loop
    begin
      select * into step from app.backfill_conversations_step();
    exception when lock_not_available or deadlock_detected then
      select 0 as texts, false as is_done into step;
    end;
    commit;
    exit when step.is_done;
    perform pg_sleep(case step.texts when 0 then 0.2 else pause end);
  end loop;
  perform pg_advisory_unlock_shared(hashtext('ringfence backfill'), 1);
end $$;

-- Takes texts that are made historical again out of their conversations. Those that were made for them go with their last text,
-- unless somebody has blocked them or put them aside. `owners` are whose the texts were, where that is noted.
create function app.take_conversations(texts uuid[], owners uuid[]) returns void language plpgsql set enable_seqscan = off as $$
declare
  ids uuid[];
begin
  perform from public.conversations c
  where c.id in (select s.conversation_id from (select x.* from public.sms_messages x where x.id = any ($1) offset 0) s)
  order by c.id for no key update;
  with text as materialized (
    select s.id, s.tenant_id, s.company_id, s.user_id, s.conversation_id
    from unnest($1, $2) n (id, owner) join public.sms_messages s on s.id = n.id and s.user_id = coalesce(n.owner, s.user_id)
    for no key update of s
  ), taken as (
    update public.sms_messages s set conversation_id = null from text t join public.users u on u.id = t.user_id and u.company_id = t.tenant_id
    where s.id = t.id and t.company_id is not null and t.conversation_id is not null
    returning s.id, t.conversation_id, s.created_at, s.direction = 'inbound' and s.read_at is null as is_unread
  ), counted as (
    update public.conversations c set message_count = greatest(c.message_count - t.texts, 0), unread_count = greatest(c.unread_count - t.unread, 0),
      last_message_at = case when c.last_message_at > t.last_at then c.last_message_at else coalesce(greatest(
        (select b.last_message_at from ops.backfill_conversation b where b.id = c.id),
        (select max(s.created_at) from public.sms_messages s
         where s.tenant_id = c.tenant_id and s.conversation_id = c.id and s.id not in (select k.id from taken k))), c.last_message_at) end
    from (select conversation_id as id, count(*) as texts, count(*) filter (where is_unread) as unread, max(created_at) as last_at from taken group by 1) t
    where c.id = t.id
    returning c.id
  )
  select array_agg(id) into ids from counted;
  delete from public.conversations c using ops.backfill_conversation b
  where c.id = any (ids) and b.id = c.id and b.is_new and c.message_count = 0 and c.conversation_status = 'active';
end $$;

-- What app.verify_backfill is for rows: a line where texts of companies are in no conversation, or conversations to which a backfill
-- has given texts count others than they have.
create function app.verify_conversations() returns table (table_name text, users bigint, rows_before bigint, rows_now bigint, problem text, note text)
  language plpgsql stable as $$
begin
  perform app.require_bypass();
  return query
    with text as (
      select s.conversation_id as id, count(*) as texts, count(*) filter (where s.direction = 'inbound' and s.read_at is null) as unread
      from public.sms_messages s where s.company_id is not null group by 1
    ), wrong as (
      select (select sum(t.texts) from text t)::bigint as all_of_them, (select sum(t.texts) from text t where t.id is not null)::bigint as in_one,
        count(*) filter (where (c.message_count, c.unread_count) <> (coalesce(t.texts, 0), coalesce(t.unread, 0))) as counted_otherwise
      from ops.backfill_conversation b join public.conversations c on c.id = b.id left join text t on t.id = c.id
    )
    select 'conversations', 0::bigint, w.all_of_them, w.in_one, concat_ws(', ',
      'texts in no conversation, for another run: ' || nullif(w.all_of_them - w.in_one, 0),
      'conversations that count other texts than they have: ' || nullif(w.counted_otherwise, 0)), null::text
    from wrong w where w.all_of_them <> w.in_one or w.counted_otherwise > 0;
end $$;
grant execute on function app.give_conversations(uuid[]), app.customer_of(text, text, text) to ringfence_dba, ringfence_platform;
grant execute on function app.backfill_conversations_step(), app.take_conversations(uuid[], uuid[]), app.verify_conversations() to ringfence_dba;
grant select (direction, from_address, to_address, created_at, read_at, conversation_id), update (conversation_id) on sms_messages to ringfence_platform;
grant select, insert, update (message_count, unread_count, last_message_at) on conversations to ringfence_platform;

-- As in V0017, also for a workflow that is active before it has a company: it runs by the clock from then on, and no more when it
-- is made historical again.
create or replace function app.follow_workflow() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if new.company_id is not null and new.trigger = 'scheduled' and new.status = 'active' and not new.is_deleted then
    insert into public.jobs as j (tenant_id, company_id, user_id, kind, record_id)
    values (new.tenant_id, new.company_id, new.owner_id, 'workflow_schedule', new.id)
    on conflict on constraint jobs_record_key do update set run_at = now(), attempts = 0, failed_at = null, last_error = null;
  else
    delete from public.jobs j where j.tenant_id = new.tenant_id and j.kind = 'workflow_schedule' and j.record_id = new.id;
  end if;
  return null;
end $$;
create trigger follow_company after update of company_id on workflows for each row
  when (old.company_id is distinct from new.company_id) execute function app.follow_workflow();
grant insert on jobs to ringfence_platform;

-- The stage to which deals go whose stage or pipeline is deleted: the first one of their pipeline, or else of the company's default
-- pipeline. None where the company has no other.
create function app.next_stage(tenant uuid, deleted_pipeline uuid, out pipeline_id uuid, out stage_id uuid) language sql stable as $$
  select p.id, s.id from public.pipeline_stages s join public.pipelines p on p.id = s.pipeline_id
  where s.tenant_id = $1 and not s.is_deleted and s.company_id is not null and not p.is_deleted and p.company_id is not null
  order by p.id = $2 desc, p.is_default desc, p.order_index, p.created_at, p.id, s.order_index, s.created_at, s.id limit 1
$$;

-- Historical deals are hidden from a colleague who deletes the stage or the pipeline that they are in. They go where they are seen.
-- Those of whoever deletes it keep it (app.delete_stage, app.delete_pipeline).
create function app.leave_deleted_stage() returns trigger language plpgsql
  security definer set search_path = pg_catalog, pg_temp set row_security = on as $$
declare
  pipeline uuid := new.id;
  stage uuid;
begin
  if tg_table_name = 'pipeline_stages' then
    pipeline := new.pipeline_id;
    stage := new.id;
  end if;
  update public.deals d set pipeline_id = n.pipeline_id, stage_id = n.stage_id from app.next_stage(new.tenant_id, pipeline) n
  where d.tenant_id = new.tenant_id and d.pipeline_id = pipeline and (stage is null or d.stage_id = stage)
    and not d.is_deleted and d.company_id is null and d.owner_id is distinct from app.user_id() and n.stage_id is not null;
  return null;
end $$;
create trigger historical after update of is_deleted on pipeline_stages for each row
  when (new.is_deleted and not old.is_deleted) execute function app.leave_deleted_stage();
create trigger historical after update of is_deleted on pipelines for each row
  when (new.is_deleted and not old.is_deleted) execute function app.leave_deleted_stage();
grant execute on function app.next_stage(uuid, uuid) to ringfence_platform;
grant select (pipeline_id, stage_id, is_deleted), update (pipeline_id, stage_id) on deals to ringfence_platform;

reset role;
alter function app.leave_deleted_stage() owner to ringfence_platform;

-- As in V0073, and the texts that stay in the company are in its conversations.
create or replace function app.keep_members() returns trigger language plpgsql
  security definer set search_path = pg_catalog, pg_temp set row_security = on as $$
declare
  t record;
begin
  insert into public.members (tenant_id, user_id) values (coalesce(new.company_id, new.id), new.id) on conflict do nothing;
  if tg_op = 'INSERT' or old.company_id is not distinct from new.company_id then
    return null;
  end if;
  set constraints all deferred;
  for t in select target, owner from app.protected_table loop
    if old.company_id is null then
      execute format('update %s set tenant_id = $1 where tenant_id = $2 and %I = $2', t.target, t.owner)
        using new.company_id, new.id;
    else
      execute format('update %s set company_id = tenant_id where company_id is null and tenant_id = $1 and %I = $2', t.target, t.owner)
        using old.company_id, new.id;
    end if;
  end loop;
  if old.company_id is null then
    update public.notifications n set tenant_id = new.company_id where n.tenant_id = new.id and n.user_id = new.id;
  else
    perform app.give_conversations(array(select s.id from public.sms_messages s
      where s.tenant_id = old.company_id and s.user_id = new.id and s.company_id is not null and s.conversation_id is null));
  end if;
  set constraints all immediate;
  return null;
end $$;

set role ringfence_platform;
update public.deals d set (pipeline_id, stage_id) = (select n.pipeline_id, n.stage_id from app.next_stage(d.tenant_id, d.pipeline_id) n)
from public.pipeline_stages s join public.pipelines p on p.id = s.pipeline_id
where s.id = d.stage_id and (s.is_deleted or p.is_deleted) and not d.is_deleted and d.company_id is null
  and exists (select from app.next_stage(d.tenant_id, d.pipeline_id) n where n.stage_id is not null);
reset role;
