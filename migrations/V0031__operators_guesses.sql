-- What an operator's guesses find out: nothing of another company, neither by the key of a file nor by a unique key.
set role ringfence_owner;

-- The content of a file is under its id, whoever writes the row, and so never another file's.
alter table files add constraint files_object_key_is_its_own check (right(object_key, 37) = '/' || id::text);
revoke update (object_key, sha256, size) on files from ringfence_api;

-- The value itself, for the keys that hold for all companies. An index is searched before the policy is asked when the
-- condition is leakproof, and `explain analyze` then tells whether there was a row. This function is not leakproof, and it
-- is in plpgsql so that it is not inlined.
create function app.global_key(value text) returns text language plpgsql immutable strict parallel safe as $$
begin
  return value;
end $$;
grant execute on function app.global_key(text)
  to ringfence_api, ringfence_operator, ringfence_operator_limited, ringfence_platform, ringfence_dba;

drop index users_email_key, phone_numbers_in_use_key, twilio_settings_number;
alter table companies drop constraint companies_name_key, drop constraint companies_domain_key;
create unique index users_email_key on users (app.global_key(email)) where not is_deleted;
create unique index companies_name_key on companies (app.global_key(name));
create unique index companies_domain_key on companies (app.global_key(domain));
create unique index phone_numbers_in_use_key on phone_numbers (app.global_key(phone_number))
  where is_active and not is_deleted and company_id is not null;
create index twilio_settings_number on twilio_settings (app.global_key(phone_number)) where company_id is not null;
reset role;

create or replace function app.login(email text, out account app.account, out password_hash text) returns setof record language sql stable
  security definer set search_path = pg_catalog, pg_temp
  begin atomic
    select app.account_of(u), k.password_hash from public.users u join app.credentials k on k.user_id = u.id
    where app.global_key(u.email) = app.global_key($1) and not u.is_deleted;
  end;

create or replace function app.email_taken(email text) returns boolean language sql stable security definer set search_path = pg_catalog, pg_temp
  begin atomic select exists (select from public.users u where app.global_key(u.email) = app.global_key($1) and not u.is_deleted); end;

create or replace function app.company_name_taken(name text) returns boolean language sql stable security definer set search_path = pg_catalog, pg_temp
  begin atomic select exists (select from public.companies c where app.global_key(c.name) = app.global_key($1)); end;

create or replace function app.start_password_reset(email text, code_hash bytea) returns boolean language sql
  security definer set search_path = pg_catalog, pg_temp
  begin atomic
    with k as (
      update app.credentials k set reset_code_hash = $2, reset_expires_at = now() + interval '15 minutes', reset_attempts = 0
      from public.users u where u.id = k.user_id and app.global_key(u.email) = app.global_key($1) and not u.is_deleted and u.is_active
      returning 1
    )
    select exists (select from k);
  end;

-- Uses a reset code. A wrong one counts: five and the code is void. `hash` is the new password's.
create or replace function app.finish_password_reset(email text, code_hash bytea, hash text) returns boolean language plpgsql
  security definer set search_path = pg_catalog, pg_temp as $$
declare
  k app.credentials;
begin
  select c.* into k from app.credentials c join public.users u on u.id = c.user_id
  where app.global_key(u.email) = app.global_key($1) and not u.is_deleted for update of c;
  if k.reset_code_hash is null or k.reset_expires_at < now() or k.reset_attempts >= 5 then
    return false;
  end if;
  if k.reset_code_hash <> $2 then
    update app.credentials c set reset_attempts = c.reset_attempts + 1 where c.user_id = k.user_id;
    return false;
  end if;
  update app.credentials c set password_hash = $3, reset_code_hash = null where c.user_id = k.user_id;
  update public.users u set token_version = u.token_version + 1 where u.id = k.user_id;
  return true;
end $$;

-- The companies that say a number is theirs, with the user in whose name its messages come in. One of them has the
-- account whose signature the provider's call bears.
create or replace function app.companies_of_number(number text) returns table (company_id uuid, user_id uuid) language sql stable
  security definer set search_path = pg_catalog, pg_temp
  begin atomic
    select n.company_id, n.user_id from public.phone_numbers n
      where app.global_key(n.phone_number) = app.global_key($1) and n.is_active and not n.is_deleted and n.company_id is not null
    union
    select s.company_id, s.user_id from public.twilio_settings s
      where app.global_key(s.phone_number) = app.global_key($1) and s.is_active and s.company_id is not null
        and not exists (select from public.phone_numbers n where n.phone_number = $1 and n.tenant_id = s.tenant_id and n.is_active and not n.is_deleted)
    limit 20;
  end;
