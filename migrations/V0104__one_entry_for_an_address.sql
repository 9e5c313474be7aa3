-- Entries of one address that were kept in several forms become one, and a company is opened again whose domain has capitals.

-- What V0098 left beside an entry in the form that is looked up: it takes the weightiest reason of them all, as a new one would
-- (app.suppress). Of a number that was written with a zero in brackets, the zero is left, as in V0098.
set role ringfence_owner;
grant select (channel, address, reason, also_admin), update (address, reason, also_admin) on suppressions to ringfence_platform;
grant execute on function app.reason_weight(text) to ringfence_platform;
set role ringfence_platform;
with entry as (
  select s.id, s.tenant_id, s.channel, s.address, s.reason, s.also_admin, f.form
  from suppressions s, app.suppressed_form(s.channel, case s.channel
    when 'sms' then regexp_replace(s.address, '^(\+(?:[17]|2[07]|3[0-46]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]|3(?:5[3589]|7[34]|8[0-35-79])|421|9(?:6[1-46]|7[0-2])))0', '\1') else s.address end) as f (form)
  where s.company_id is not null and f.form <> ''
), kept as (
  select distinct on (e.tenant_id, e.channel, e.form) e.id, e.tenant_id, e.channel, e.form,
    first_value(e.reason) over (partition by e.tenant_id, e.channel, e.form order by app.reason_weight(e.reason) desc, e.id) as reason,
    bool_or(e.also_admin or e.reason = 'admin') over (partition by e.tenant_id, e.channel, e.form) as also_admin
  from entry e
  order by e.tenant_id, e.channel, e.form, e.address = e.form desc, app.reason_weight(e.reason) desc, e.id
), others as (
  delete from suppressions s using entry e, kept k
  where s.id = e.id and (k.tenant_id, k.channel, k.form) = (e.tenant_id, e.channel, e.form) and k.id <> e.id
)
update suppressions s set address = k.form, reason = k.reason, also_admin = k.also_admin and k.reason <> 'admin'
from kept k
where s.id = k.id and (s.address, s.reason, s.also_admin) is distinct from (k.form, k.reason, k.also_admin and k.reason <> 'admin');
set role ringfence_owner;
revoke select (channel, address, reason, also_admin), update (address, reason, also_admin) on suppressions from ringfence_platform;
revoke execute on function app.reason_weight(text) from ringfence_platform;
reset role;

-- As in V0102, and a domain that was stored with capitals comes back from the form without them.
create or replace function app.update_any_company(company_id uuid, patch jsonb) returns setof app.company_card language plpgsql
  security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform app.require_super_admin();
  update public.companies c set updated_at = now(), (name, domain, logo_url, timezone, currency, email, phone, address, city, state, zip, settings, plan, status) =
    (select n.name, case when lower(c.domain) = n.domain then c.domain else n.domain end, n.logo_url, n.timezone, n.currency, n.email, n.phone,
       n.address, n.city, n.state, n.zip, c.settings || n.settings, n.plan, n.status
     from jsonb_populate_record(c, $2) n),
    subscription_status = case when $2 ->> 'status' = 'active' and app.is_blocked('active', c.subscription_status)
      and (c.status <> 'active' or to_jsonb(c) || jsonb_build_object('domain', lower(c.domain)) @> $2) then 'active' else c.subscription_status end
  where c.id = $1;
  return query select c.* from app.company_card c where c.id = $1;
end $$;
