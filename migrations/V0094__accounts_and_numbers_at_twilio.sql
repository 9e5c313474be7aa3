-- Twilio's accounts and numbers are no operator's to write: a number is used by one company at a time, so that who adds or locks one
-- and does not commit holds up another company; and that an account was verified would be said of whichever SID they enter.
set role ringfence_owner;

-- As in V0083, without these tables.
create or replace function app.open_to_operators(target regclass) returns void language plpgsql set client_min_messages = warning as $$
declare
  rule text := 'tenant_id = (select app.operator_company()) and company_id is not null';
  columns text := (select string_agg(c, ', ') from unnest(string_to_array(app.writable_columns(target), ', ')) c
    where not (target = to_regclass('public.emails') and c in ('opened_at', 'clicked_at', 'execution_id'))
      and not (target = to_regclass('public.files') and c = 'deleted_at')
      and not (target = to_regclass('public.sms_messages') and c = 'execution_id'));
begin
  execute format('drop policy if exists operator on %s', target);
  execute format('create policy operator on %s to ringfence_operator, ringfence_operator_limited using (%s) with check (%s)', target, rule, rule);
  execute format('grant select on %s to ringfence_operator', target);
  -- An invitation makes a login of the API, the key of a mail hook speaks for the provider, an account and its numbers are what Twilio
  -- says of them, and the rest is done or sent in a member's name.
  if target <> all (array['public.invitations', 'public.mail_hooks', 'public.twilio_settings', 'public.phone_numbers', 'public.workflows',
      'public.workflow_events', 'public.workflow_executions', 'public.workflow_steps', 'public.scheduled_sms', 'public.campaigns',
      'public.campaign_recipients']::regclass[]) then
    execute format('grant insert (id, tenant_id, company_id, %s), update (%1$s) on %s to ringfence_operator_write', columns, target);
  end if;
end $$;
revoke insert, update on twilio_settings, phone_numbers from ringfence_operator_write;

reset role;
