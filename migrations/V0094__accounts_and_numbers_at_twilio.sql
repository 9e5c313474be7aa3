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

-- As in V0074, but of many who claim a number, those whose account has been verified are among them whoever else is on: the limit is
-- there for what a refused request may cost.
create or replace function app.companies_of_number(number text, account text) returns table (company_id uuid, user_id uuid) language sql stable
  security definer set search_path = pg_catalog, pg_temp
  begin atomic
    select said.company_id, said.user_id from (
      select claim.* from (
        select distinct on (o.company_id) o.company_id, o.user_id, o.is_number, coalesce(s.account_sid = $2, false) as is_account,
          coalesce(s.is_verified, false) as is_verified, coalesce(s.is_active, false) as is_on, s.created_at
        from (
          select n.company_id, n.user_id, true as is_active, true as is_number from public.phone_numbers n
            where app.global_key(n.phone_number) = app.global_key($1) and n.is_active and not n.is_deleted and n.company_id is not null
          union all
          select n.company_id, n.user_id, false, true from public.phone_numbers n
            where app.global_key(n.phone_number) = app.global_key($1) and not n.is_active and not n.is_deleted and n.company_id is not null
          union all
          select t.company_id, t.user_id, true, false from public.twilio_settings t
            where app.global_key(t.phone_number) = app.global_key($1) and t.company_id is not null
        ) o
        left join public.twilio_settings s on s.tenant_id = o.company_id and s.company_id is not null
        where o.is_active or s.account_sid = $2 and s.is_verified
        order by o.company_id, o.is_active desc, o.is_number desc
      ) claim
      order by (claim.is_account and claim.is_verified) desc, claim.is_account desc, claim.is_on desc, claim.is_verified desc,
        claim.is_number desc, claim.created_at
      limit 20
    ) said
    order by said.is_account desc, said.is_on desc, said.is_verified desc, said.is_number desc, said.created_at;
  end;
