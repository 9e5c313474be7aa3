-- Campaigns that fail while mails are under way, the jobs of a company that is opened again, and reset codes that no longer count.
set role ringfence_owner;

-- What waits for a company that was suspended begins as soon as it is opened, and not within the hour (app.retry_job).
create function app.resume_jobs() returns trigger language plpgsql
  security definer set search_path = pg_catalog, pg_temp set row_security = on as $$
begin
  if app.is_blocked(old.status, old.subscription_status) and not app.is_blocked(new.status, new.subscription_status) then
    update public.jobs j set run_at = now(), last_error = null
    where j.tenant_id = new.id and j.company_id = new.id and j.failed_at is null and j.last_error = 'Suspended' and j.run_at > now();
  end if;
  return null;
end $$;
create trigger resume_jobs after update of status, subscription_status on companies for each row
  when ((old.status, old.subscription_status) is distinct from (new.status, new.subscription_status))
  execute function app.resume_jobs();

-- Whether the account's password can be reset by this code: it cannot when a later one was asked for, or it was used.
create function app.is_reset_code(email text, code_hash bytea) returns boolean language sql stable
  security definer set search_path = pg_catalog, pg_temp
  begin atomic
    select exists (select from app.credentials k join public.users u on u.id = k.user_id
      where app.global_key(u.email) = app.global_key($1) and not u.is_deleted and k.reset_code_hash = $2);
  end;

reset role;
alter function app.resume_jobs() owner to ringfence_platform;
alter function app.is_reset_code(text, bytea) owner to ringfence_platform;
grant execute on function app.is_reset_code(text, bytea) to ringfence_api;

-- As in V0067, and by its error it is known what waits for a company that is suspended (app.resume_jobs).
create or replace function app.retry_job(id uuid, error text) returns void language sql security definer set search_path = pg_catalog, pg_temp
  begin atomic
    update public.jobs j set last_error = case when c.blocked then 'Suspended' else left($2, 500) end,
      attempts = greatest(j.attempts - c.blocked::int, 0),
      run_at = now() + case when c.blocked then interval '1 hour' else interval '10 seconds' * power(2, j.attempts) end,
      failed_at = case when j.attempts >= 10 and not c.blocked then now() end
    from (select x.id, app.is_blocked(x.status, x.subscription_status) as blocked from public.companies x) c
    where j.id = $1 and c.id = j.company_id;
  end;

-- As in V0093, but a company whose subscription has ended is not opened by a form that sends its status along with a change of something
-- else: only if it becomes active, or if nothing else is changed.
create or replace function app.update_any_company(company_id uuid, patch jsonb) returns setof app.company_card language plpgsql
  security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform app.require_super_admin();
  update public.companies c set updated_at = now(), (name, domain, logo_url, timezone, currency, email, phone, address, city, state, zip, settings, plan, status) =
    (select n.name, case when lower(c.domain) = n.domain then c.domain else n.domain end, n.logo_url, n.timezone, n.currency, n.email, n.phone,
       n.address, n.city, n.state, n.zip, c.settings || n.settings, n.plan, n.status
     from jsonb_populate_record(c, $2) n),
    subscription_status = case when $2 ->> 'status' = 'active' and app.is_blocked('active', c.subscription_status)
      and (c.status <> 'active' or to_jsonb(c) @> $2) then 'active' else c.subscription_status end
  where c.id = $1;
  return query select c.* from app.company_card c where c.id = $1;
end $$;
