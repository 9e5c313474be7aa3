-- What an operator writes starts nothing and sends nothing, and no operator takes all connections.
set role ringfence_owner;

-- What operators may do with a protected table: read it, and with ringfence_operator_write also add and change rows. Not
-- delete them: that right would come with the right to lock the table for every company. Which columns
-- ringfence_operator_limited reads is said in sql/platform/operators.sql.
create or replace function app.open_to_operators(target regclass) returns void language plpgsql as $$
declare
  rule text := 'tenant_id = (select app.operator_company()) and company_id is not null';
begin
  execute format('create policy operator on %s to ringfence_operator, ringfence_operator_limited using (%s) with check (%s)', target, rule, rule);
  execute format('grant select on %s to ringfence_operator', target);
  -- An invitation makes a login of the API, the key of a mail hook speaks for the provider, and the rest is done or sent in a
  -- member's name.
  if target <> all (array['public.invitations', 'public.mail_hooks', 'public.workflows', 'public.workflow_events', 'public.workflow_executions',
      'public.workflow_steps', 'public.scheduled_sms', 'public.campaigns', 'public.campaign_recipients']::regclass[]) then
    execute format('grant insert (id, tenant_id, company_id, %s), update (%1$s) on %s to ringfence_operator_write', app.writable_columns(target), target);
  end if;
  -- The triggers of other tables take back what they asked for.
  if target = to_regclass('public.jobs') then
    execute format('grant delete on %s to ringfence_operator_write', target);
  end if;
end $$;
revoke insert, update on mail_hooks, workflows, workflow_events, workflow_executions, workflow_steps, scheduled_sms, campaigns, campaign_recipients
  from ringfence_operator_write;

-- Triggers ask for jobs as whoever writes: an activity reminds its owner, and what never got its answer is closed.
create function app.refuse_job() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  raise insufficient_privilege using message = format('no operator starts a job of the kind "%s"', new.kind);
end $$;
create trigger harmless before insert or update of user_id, kind, record_id, run_at, attempts, failed_at on jobs for each row
  -- To whom the operators' policies apply.
  when (new.kind not in ('activity_due', 'unanswered') and pg_has_role(current_user, 'ringfence_operator', 'usage')
    and row_security_active('public.jobs'))
  execute function app.refuse_job();

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
  -- All sessions of the server are not one person's.
  execute format('create role %I login nosuperuser nocreatedb nocreaterole noreplication nobypassrls connection limit 10 in role %I', name, kind);
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

reset role;

-- Not as the owner of the tables: roles are the administrator's. Another administrator's roles may be out of reach.
do $$
declare
  operator name;
begin
  for operator in select distinct r.rolname from app.operator_grant g join pg_roles r on r.rolname = g.db_role and r.oid = g.role_oid
      where r.rolconnlimit = -1 and not r.rolsuper loop
    begin
      execute format('alter role %I connection limit 10', operator);
    exception when insufficient_privilege then
      raise warning '"%" may use up all connections of the server: whoever made the role must say "alter role % connection limit 10"',
        operator, quote_ident(operator);
    end;
  end loop;
end $$;

-- Messages in the write-ahead log fill the disk, and its position tells how much all companies write. Only a superuser can take
-- them from everybody.
do $$
declare
  f record;
begin
  if (select rolsuper from pg_roles where rolname = current_user) then
    for f in select p.oid::regprocedure as signature, p.proname <> 'pg_logical_emit_message' as is_position from pg_proc p
        where p.pronamespace = 'pg_catalog'::regnamespace
          and p.proname in ('pg_logical_emit_message', 'pg_current_wal_lsn', 'pg_current_wal_insert_lsn', 'pg_current_wal_flush_lsn') loop
      execute format('revoke execute on function %s from public', f.signature);
      if f.is_position then
        execute format('grant execute on function %s to ringfence_api, ringfence_dba, pg_monitor', f.signature);
      end if;
    end loop;
  end if;
end $$;
