-- A login that is made anew is somebody else's, and what the staff asked for is known whatever becomes of their transaction.
set role ringfence_owner;

create or replace function app.add_operator(name name, companies text[], may_write boolean default false, personal_data boolean default true,
  verifier text default null) returns void language plpgsql as $$
declare
  kind name := case when not personal_data then 'ringfence_operator_limited' when may_write then 'ringfence_operator_write' else 'ringfence_operator' end;
  company text;
begin
  if may_write and not personal_data then
    raise invalid_parameter_value using message = 'an operator who writes sees personal data: choose one of both';
  end if;
  if name::text ~ '^ringfence' then
    raise reserved_name using message = 'names that begin with "ringfence" are the program''s own: choose another one';
  end if;
  if exists (select from pg_catalog.pg_roles r where r.rolname = name) then
    raise duplicate_object using message = format('there is a role named "%s" already', name),
      hint = 'Roles belong to the whole cluster and not to one database: choose another name, or see app.grant_operator for an operator who is to have one more company.';
  end if;
  if coalesce(cardinality(companies), 0) = 0 then
    raise invalid_parameter_value using message = 'an operator needs a company';
  end if;
  -- Of a login of this name that was dropped by other means, or by way of another database.
  delete from app.operator_grant g where g.db_role = add_operator.name;
  delete from app.operator_choice c where c.db_role = add_operator.name;
  execute format('create role %I login nosuperuser nocreatedb nocreaterole noreplication nobypassrls in role %I', name, kind);
  if verifier is not null then
    execute format('alter role %I password %L', name, verifier);
  end if;
  -- So that a forgotten psql does not stand in the way of others. They may set these for themselves.
  execute format('alter role %I set statement_timeout = %L', name, '60s');
  execute format('alter role %I set lock_timeout = %L', name, '2s');
  execute format('alter role %I set idle_in_transaction_session_timeout = %L', name, '5min');
  execute format('alter role %I set timezone = %L', name, 'UTC');
  foreach company in array companies loop
    perform app.grant_operator(name, company);
  end loop;
end $$;

-- In the server's log, which a rollback leaves as it is.
create function app.tell_staff_log() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  raise log 'staff report "%" for %', new.report, new.db_role;
  return new;
end $$;
create trigger told before insert on app.staff_log for each row execute function app.tell_staff_log();

reset role;
