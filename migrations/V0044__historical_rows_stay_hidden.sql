-- Historical rows are their owner's alone, also where a workflow, the audit log, a sum or a job speaks of them; and a number that
-- somebody else claims does not keep a company from hearing what is sent to its own.
set role ringfence_owner;

alter policy own on audit_log using (tenant_id = (select app.company_id()) and company_id is not null)
  with check (tenant_id = (select app.company_id()) and company_id is not null);
alter policy operator on audit_log using (tenant_id = (select app.operator_company()) and company_id is not null);

-- What the templates and conditions of a run may name, besides the data of its trigger. A run is the company's, whoever owns
-- it: it sees no historical row.
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
    select to_jsonb(d) into it from (select id, title, value, currency, stage_id, stage_name, pipeline_id, company, contact_id, description,
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
    select to_jsonb(d) into deal from (select id, title, value, currency, stage_id, stage_name, pipeline_id, company, contact_id, description,
      expected_close_date, status, probability, tags, owner_id, created_at
      from public.deal_card where id = (select h.id from public.deals h where h.id = (it ->> 'deal_id')::uuid and h.company_id is not null) and not is_deleted) d;
  end if;
  contact_id := coalesce(contact_id, (it ->> 'contact_id')::uuid, (deal ->> 'contact_id')::uuid);
  select to_jsonb(c) into contact from (select id, first_name, last_name, concat_ws(' ', first_name, last_name) as name, email, phone, company,
    title, type, status, owner_id, created_at from public.contacts where id = contact_id and not is_deleted and company_id is not null) c;
  return jsonb_build_object('deal', deal, 'contact', contact, 'record', case of_kind when 'contact' then contact else it end,
      'company', (select jsonb_build_object('id', c.id, 'name', c.name, 'email', c.email, 'phone', c.phone, 'timezone', c.timezone,
        'currency', c.currency) from public.companies c where c.id = app.company_id()),
      'user', (select jsonb_build_object('id', u.id, 'first_name', u.first_name, 'last_name', u.last_name, 'email', u.email, 'phone', u.phone,
        'title', u.title) from public.users u where u.id = app.user_id()))
    || case when of_kind is not null and of_kind <> 'contact' then jsonb_build_object(of_kind, it) else '{}' end;
end $$;

reset role;

-- As before, and in nobody's name where a person at psql changes something.
create or replace function app.keep_audit_log() returns trigger language plpgsql
  security definer set search_path = pg_catalog, pg_temp set row_security = on as $$
declare
  was jsonb := case when tg_op <> 'INSERT' then to_jsonb(old) end;
  now_is jsonb := case when tg_op <> 'DELETE' then to_jsonb(new) end;
  changed jsonb := coalesce(now_is, was);
  -- What a person at psql has set says nothing: only the API's login speaks in somebody's name.
  is_api boolean := pg_catalog.pg_has_role(session_user, 'ringfence_api', 'member');
  request text := case when is_api then coalesce(current_setting('app.request_id', true), '') else '' end;
  is_job boolean := starts_with(request, 'job ');
  kept_before jsonb;
  kept_after jsonb;
begin
  if current_setting('role') = 'ringfence_dba' then
    return null;
  end if;
  if tg_nargs > 0 then
    select jsonb_object_agg(c.name, app.brief(was -> c.name)) filter (where was is not null),
      jsonb_object_agg(c.name, app.brief(now_is -> c.name)) filter (where now_is is not null)
    into kept_before, kept_after
    from unnest(tg_argv) c (name)
    where was is null or now_is is null or was -> c.name is distinct from now_is -> c.name;
    if tg_op = 'UPDATE' and kept_after is null then
      return null;
    end if;
  end if;
  -- A user who moves is news for both companies, and neither is told which the other one is.
  insert into public.audit_log (tenant_id, company_id, table_name, record_id, action, before, after, user_id, role, db_role, request_id)
  select coalesce(c.id, (changed ->> 'tenant_id')::uuid, (changed ->> 'id')::uuid), c.id, tg_table_name, (changed ->> 'id')::uuid, lower(tg_op),
    app.without_other_company(kept_before, c.id), app.without_other_company(kept_after, c.id), case when is_api then app.user_id() end,
    case when is_job then 'job' when is_api then (select k.role from app.caller k where k.user_id = app.user_id()) end,
    nullif(session_user, 'ringfence_api'), nullif(case when is_job then substr(request, 5) else request end, '')
  from (select (case when tg_table_name = 'companies' then was ->> 'id' else was ->> 'company_id' end)::uuid where was is not null
    union select (case when tg_table_name = 'companies' then now_is ->> 'id' else now_is ->> 'company_id' end)::uuid where now_is is not null) c (id);
  return null;
end $$;

-- As before, for rows of the company: historical ones are counted when they get one.
create or replace function app.keep_storage_use() returns trigger language plpgsql security definer
  set search_path = pg_catalog, pg_temp set row_security = on as $$
declare
  c record;
begin
  -- In the order of the companies, so that two statements that touch several do not wait for each other.
  if tg_op = 'INSERT' then
    for c in select n.tenant_id, sum(coalesce(n.size, 0)) as bytes, count(*) as files from new_files n where not n.is_deleted and n.company_id is not null group by 1 order by 1 loop
      update public.companies set storage_bytes = storage_bytes + c.bytes, file_count = file_count + c.files where id = c.tenant_id;
    end loop;
  elsif tg_op = 'DELETE' then
    for c in select o.tenant_id, sum(coalesce(o.size, 0)) as bytes, count(*) as files from old_files o where not o.is_deleted and o.company_id is not null group by 1 order by 1 loop
      update public.companies set storage_bytes = storage_bytes - c.bytes, file_count = file_count - c.files where id = c.tenant_id;
    end loop;
  else
    for c in select d.tenant_id, sum(d.bytes) as bytes, sum(d.files) as files
        from (select n.tenant_id, coalesce(n.size, 0) as bytes, 1 as files from new_files n where not n.is_deleted and n.company_id is not null
          union all select o.tenant_id, -coalesce(o.size, 0), -1 from old_files o where not o.is_deleted and o.company_id is not null) d
        group by 1 having sum(d.bytes) <> 0 or sum(d.files) <> 0 order by 1 loop
      update public.companies set storage_bytes = storage_bytes + c.bytes, file_count = file_count + c.files where id = c.tenant_id;
    end loop;
  end if;
  return null;
end $$;

set role ringfence_owner;
grant select (size) on files to ringfence_platform;
reset role;
set role ringfence_platform;
update public.companies c set storage_bytes = f.bytes, file_count = f.files
from (select x.tenant_id, coalesce(sum(x.size), 0) as bytes, count(*) as files from public.files x
  where not x.is_deleted and x.company_id is not null group by 1) f
where f.tenant_id = c.id and (c.storage_bytes, c.file_count) <> (f.bytes, f.files);
update public.companies c set storage_bytes = 0, file_count = 0
where c.file_count <> 0 and not exists (select from public.files x where x.tenant_id = c.id and not x.is_deleted and x.company_id is not null);
reset role;
set role ringfence_owner;
revoke select (size) on files from ringfence_platform;
reset role;

-- As before. A job has a company.
create or replace function app.claim_jobs(kinds text[], "limit" int, busy uuid[])
  returns table (id uuid, company_id uuid, user_id uuid, kind text, record_id uuid) language sql
  security definer set search_path = pg_catalog, pg_temp
  begin atomic
    with recursive tenant as (
      (select j.tenant_id from public.jobs j
        where j.failed_at is null and exists (select from public.jobs d where d.failed_at is null and d.run_at <= now())
        order by j.tenant_id limit 1)
      union all
      select (select j.tenant_id from public.jobs j where j.failed_at is null and j.tenant_id > t.tenant_id order by j.tenant_id limit 1)
      from tenant t where t.tenant_id is not null
    ), due as (
      select d.id, row_number() over (partition by t.tenant_id order by d.run_at) as turn, d.run_at
      from tenant t, lateral (
        select j.id, j.run_at from public.jobs j
        where j.tenant_id = t.tenant_id and j.company_id is not null and j.failed_at is null and j.run_at <= now() and j.kind = any ($1)
        order by j.run_at limit $2 for update skip locked) d
      where t.tenant_id <> all ($3)
    ), taken as (
      select due.id from due order by due.turn, due.run_at limit $2
    ), claimed as (
      update public.jobs j set run_at = now() + interval '5 minutes', attempts = j.attempts + (j.attempts < 10)::int,
        failed_at = case when j.attempts >= 10 then now() end,
        last_error = case when j.attempts >= 10 then format('given up after %s claims', j.attempts) else j.last_error end
      from taken where j.id = taken.id
      returning j.id, j.company_id, j.user_id, j.kind, j.record_id, j.failed_at
    )
    select c.id, c.company_id, c.user_id, c.kind, c.record_id from claimed c where c.failed_at is null;
  end;

-- The companies that say a number is theirs, with the user in whose name its messages come in; one of them has the account whose
-- signature the provider's call bears. Anybody can say so, so those come first who have the account that the call names, and
-- among them who has proved it. A number that is not active because another company has it first is heard for that account, too.
set role ringfence_owner;
grant select (account_sid, is_verified) on twilio_settings to ringfence_platform;
create index phone_numbers_beside_key on phone_numbers (app.global_key(phone_number)) where not is_active and not is_deleted and company_id is not null;
create function app.companies_of_number(number text, account text) returns table (company_id uuid, user_id uuid) language sql stable
  security definer set search_path = pg_catalog, pg_temp
  begin atomic
    select said.company_id, said.user_id from (
      select distinct on (o.company_id) o.company_id, o.user_id, o.is_number, coalesce(s.account_sid = $2, false) as is_account,
        coalesce(s.is_verified, false) as is_verified, s.created_at
      from (
        select n.company_id, n.user_id, true as is_active, true as is_number from public.phone_numbers n
          where app.global_key(n.phone_number) = app.global_key($1) and n.is_active and not n.is_deleted and n.company_id is not null
        union all
        select n.company_id, n.user_id, false, true from public.phone_numbers n
          where app.global_key(n.phone_number) = app.global_key($1) and not n.is_active and not n.is_deleted and n.company_id is not null
        union all
        select t.company_id, t.user_id, true, false from public.twilio_settings t
          where app.global_key(t.phone_number) = app.global_key($1) and t.is_active and t.company_id is not null
      ) o
      left join public.twilio_settings s on s.tenant_id = o.company_id and s.company_id is not null
      where o.is_active or s.account_sid = $2 and s.is_verified
      order by o.company_id, o.is_active desc, o.is_number desc
    ) said
    order by said.is_account desc, said.is_verified desc, said.is_number desc, said.created_at
    limit 20;
  end;

-- Which of these numbers another company works with; what one says of them in its settings alone does not count.
create function app.numbers_taken(numbers text[]) returns table (number text) language sql stable
  security definer set search_path = pg_catalog, pg_temp
  begin atomic
    select g.number from unnest($1) g (number)
    where exists (select from public.phone_numbers n where app.global_key(n.phone_number) = app.global_key(g.number)
      and n.is_active and not n.is_deleted and n.company_id is not null and n.company_id <> app.company_id());
  end;

reset role;
alter function app.companies_of_number(text, text) owner to ringfence_platform;
alter function app.numbers_taken(text[]) owner to ringfence_platform;
grant execute on function app.companies_of_number(text, text), app.numbers_taken(text[]) to ringfence_api;
