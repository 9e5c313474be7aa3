-- What operators could do to others, and what a backfill and its undo did to rows that were not theirs any more.
set role ringfence_owner;

-- Some statements wait for a lock of a table before it is looked at whether they are allowed, with everybody behind them, and
-- `drop owned by` one of the groups takes the rights of all its members. An event trigger is fired before either. Whoever may
-- become the owner of the tables is no operator, also if they made the roles and so are a member of each.
create function app.refuse_ddl() returns event_trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if not pg_has_role(session_user, 'ringfence_owner', 'member')
     and (pg_has_role(session_user, 'ringfence_operator', 'member') or pg_has_role(session_user, 'ringfence_operator_limited', 'member')
       or pg_has_role(session_user, 'ringfence_staff', 'member')) then
    raise insufficient_privilege using message = format('%s is an administrator''s to say: operators and staff change nothing of the database but rows', tg_tag);
  end if;
end $$;

-- As in V0071, and again where its grants were lost: what was kept from those who write since then stays so.
create or replace function app.open_to_operators(target regclass) returns void language plpgsql as $$
declare
  rule text := 'tenant_id = (select app.operator_company()) and company_id is not null';
  columns text := (select string_agg(c, ', ') from unnest(string_to_array(app.writable_columns(target), ', ')) c
    where not (target = to_regclass('public.twilio_settings') and c in ('is_verified', 'last_verified_at'))
      and not (target = to_regclass('public.emails') and c in ('opened_at', 'clicked_at')));
begin
  execute format('drop policy if exists operator on %s', target);
  execute format('create policy operator on %s to ringfence_operator, ringfence_operator_limited using (%s) with check (%s)', target, rule, rule);
  execute format('grant select on %s to ringfence_operator', target);
  -- An invitation makes a login of the API, the key of a mail hook speaks for the provider, and the rest is done or sent in a
  -- member's name.
  if target <> all (array['public.invitations', 'public.mail_hooks', 'public.workflows', 'public.workflow_events', 'public.workflow_executions',
      'public.workflow_steps', 'public.scheduled_sms', 'public.campaigns', 'public.campaign_recipients']::regclass[]) then
    execute format('grant insert (id, tenant_id, company_id, %s), update (%1$s) on %s to ringfence_operator_write', columns, target);
  end if;
end $$;
alter function app.open_to_operators(regclass) set client_min_messages = warning;

reset role;

-- As in V0047. Where a company was chosen, only that one counts: whoever loses it is not at work for another one by that.
create or replace function app.operator_company() returns uuid language sql stable parallel safe
  security definer set search_path = pg_catalog, pg_temp
  begin atomic
    select g.company_id from app.operator_grant g
    where g.db_role = session_user and g.role_oid = to_regrole(quote_ident(session_user))
      and case when coalesce(current_setting('app.operator_choice', true), '') = ''
        then not exists (select from app.operator_grant o
          where o.db_role = session_user and o.role_oid = g.role_oid and o.company_id <> g.company_id)
        else g.company_id = (select c.company_id from app.operator_choice c
          where c.db_role = session_user and c.role_oid = g.role_oid and c.token = current_setting('app.operator_choice', true)) end;
  end;

set role ringfence_owner;
-- As in V0060, of the job that there was, too: who turns one into another kind, or has it do something else, stops it.
create or replace function app.refuse_job() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if new.kind in ('activity_due', 'unanswered') and (tg_op = 'INSERT' or old.kind = new.kind and old.record_id = new.record_id) then
    return new;
  end if;
  raise insufficient_privilege using message = format('no operator starts or stops a job of the kind "%s"',
    case tg_op when 'UPDATE' then old.kind else new.kind end);
end $$;
create or replace trigger harmless before insert or update of user_id, kind, record_id, run_at, attempts, failed_at on jobs for each row
  -- To whom the operators' policies apply.
  when (pg_has_role(current_user, 'ringfence_operator', 'usage') and row_security_active('public.jobs'))
  execute function app.refuse_job();
reset role;
