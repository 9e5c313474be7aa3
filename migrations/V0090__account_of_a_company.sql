grant update (account_sid) on public.twilio_settings to ringfence_platform;

-- Sets the SID of a company's Twilio account, another one's for super admins. What Twilio has said of the account before says
-- nothing of another one. False when the company has no settings.
create function app.set_account_sid(company_id uuid, account_sid text) returns boolean language plpgsql
  security definer set search_path = pg_catalog, pg_temp as $$
begin
  if $1 is distinct from app.company_id() then
    perform app.require_super_admin();
  end if;
  update public.twilio_settings t set account_sid = $2, is_verified = false, updated_at = now()
  where t.tenant_id = $1 and t.company_id is not null and t.account_sid <> $2;
  return exists (select from public.twilio_settings t where t.tenant_id = $1 and t.company_id is not null);
end $$;
revoke execute on function app.set_account_sid(uuid, text) from public;
alter function app.set_account_sid(uuid, text) owner to ringfence_platform;
grant execute on function app.set_account_sid(uuid, text) to ringfence_api;
