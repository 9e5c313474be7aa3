-- What is done in somebody's name ends with them, a company's rows stay out of what only one of its people sees, and a provider's
-- account is known by its token.
set role ringfence_owner;

-- As in V0068, but of a user who has left nothing is known.
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
  select to_jsonb(c) into contact from (select id, first_name, last_name, concat_ws(' ', first_name, last_name) as name, email, phone, company,
    title, type, status, owner_id, created_at from public.contacts where id = contact_id and not is_deleted and company_id is not null) c;
  return jsonb_build_object('deal', deal, 'contact', contact, 'record', case of_kind when 'contact' then contact else it end,
      'company', (select jsonb_build_object('id', c.id, 'name', c.name, 'email', c.email, 'phone', c.phone, 'timezone', c.timezone,
        'currency', c.currency) from public.companies c where c.id = app.company_id()),
      'user', (select jsonb_build_object('id', u.id, 'first_name', u.first_name, 'last_name', u.last_name, 'email', u.email, 'phone', u.phone,
        'title', u.title) from public.users u where u.id = app.user_id() and not u.is_deleted))
    || case when of_kind is not null and of_kind <> 'contact' then jsonb_build_object(of_kind, it) else '{}' end;
end $$;

-- As in V0066, and whoever puts something there has a company: in a folder from before there were companies, which is its user's
-- only, nobody else would find it.
create or replace function app.found_folder(id uuid) returns uuid language plpgsql strict as $$
begin
  return app.found('Folder', $1, (select f.id from public.folders f where f.id = $1 and not f.is_deleted and f.company_id is not null for share));
end $$;

-- As in V0055, and a folder of the company goes into a folder of the company.
create or replace function app.new_parent(folder_id uuid, parent_id uuid) returns uuid language plpgsql as $$
begin
  perform app.lock_name('folders', '');
  if parent_id is null or exists (select from public.folders f where f.id = $1 and f.parent_id = $2) then
    return parent_id;
  end if;
  perform from public.folders f where f.id = $2 and not f.is_deleted
    and (f.company_id is not null or exists (select from public.folders x where x.id = $1 and x.company_id is null));
  if not found then
    raise sqlstate 'RF404' using message = 'Folder';
  end if;
  if exists (
    with recursive above as (
      select f.id, f.parent_id from public.folders f where f.id = $2
      union select f.id, f.parent_id from public.folders f join above a on f.id = a.parent_id
    )
    select from above a where a.id = $1
  ) then
    raise sqlstate 'RF400' using message = 'A folder cannot be moved into itself or one of its subfolders';
  end if;
  return parent_id;
end $$;

-- At psql too: an operator sees no historical folder, and may know its id.
create function app.refuse_unseen_folder() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  folder uuid := (to_jsonb(new) ->> tg_argv[0])::uuid;
begin
  if not exists (select from public.folders f where f.tenant_id = new.tenant_id and f.id = folder) then
    raise foreign_key_violation using message = format('the company has no folder "%s"', folder);
  end if;
  return new;
end $$;
create trigger seen before insert or update of folder_id on files for each row
  when (new.folder_id is not null and pg_has_role(current_user, 'ringfence_operator', 'usage') and row_security_active('public.files'))
  execute function app.refuse_unseen_folder('folder_id');
create trigger seen before insert or update of parent_id on folders for each row
  when (new.parent_id is not null and pg_has_role(current_user, 'ringfence_operator', 'usage') and row_security_active('public.folders'))
  execute function app.refuse_unseen_folder('parent_id');

-- As in V0019, and exactly the zones that are IANA's. Four of them have digits and are no offset of somebody's making; four others
-- are to PostgreSQL the abbreviations of an offset without summer time, and are called here as IANA calls them since 2024.
create or replace function app.company_zone() returns text language plpgsql stable as $$
declare
  zone text;
begin
  select case c.timezone when 'CET' then 'Europe/Brussels' when 'MET' then 'Europe/Brussels' when 'EET' then 'Europe/Athens'
    when 'WET' then 'Europe/Lisbon' else c.timezone end into zone
  from public.companies c
  where c.id = app.company_id() and (c.timezone !~ '[0-9]' or c.timezone ~ '^Etc/GMT[+-][0-9]{1,2}$'
    or c.timezone in ('EST5EDT', 'CST6CDT', 'MST7MDT', 'PST8PDT'));
  perform now() at time zone zone;
  return coalesce(zone, 'UTC');
exception when data_exception then
  return 'UTC';
end $$;

grant update (is_verified, updated_at), select (updated_at) on twilio_settings to ringfence_platform;

reset role;

-- As in V0072, and what the company has in a historical folder stays when its user deletes that.
create or replace function app.leave_deleted_folder() returns trigger language plpgsql
  security definer set search_path = pg_catalog, pg_temp set row_security = on as $$
begin
  update public.files x set folder_id = null
  where x.tenant_id = new.tenant_id and x.folder_id = new.id and not x.is_deleted
    and case when x.company_id is null then x.owner_id is distinct from app.user_id() else new.company_id is null end;
  update public.folders x set parent_id = null
  where x.tenant_id = new.tenant_id and x.parent_id = new.id and not x.is_deleted
    and case when x.company_id is null then x.owner_id is distinct from app.user_id() else new.company_id is null end;
  return null;
end $$;

-- As in V0003, and what Twilio has said of an account says nothing of another SID or token. Who writes the settings in the same
-- transaction says that themselves.
create or replace function app.keep_company_secret(name text, sealed bytea, last_four text, company_id uuid) returns void language plpgsql
  security definer set search_path = pg_catalog, pg_temp as $$
begin
  if $4 is distinct from app.company_id() then
    perform app.require_super_admin();
  end if;
  if $2 is null then
    delete from app.company_secrets s where s.company_id = $4 and s.name = $1;
  else
    insert into app.company_secrets as s (company_id, name, sealed, last_four) values ($4, $1, $2, $3)
    on conflict on constraint company_secrets_pkey do update set sealed = $2, last_four = $3, updated_at = now();
  end if;
  if found and $1 in ('twilio_account_sid', 'twilio_auth_token') then
    update public.twilio_settings t set is_verified = false, updated_at = now()
    where t.tenant_id = $4 and t.company_id is not null and t.is_verified and t.updated_at <> now();
  end if;
end $$;
