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

reset role;
