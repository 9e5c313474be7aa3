-- What an operator writes starts nothing and sends nothing.
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

reset role;
