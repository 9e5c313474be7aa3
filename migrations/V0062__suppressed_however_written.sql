-- Whom a company may not write to is found however the address was written, also by an operator or an import: it is kept in
-- the form in which it is asked for.
set role ringfence_owner;
grant execute on function app.bare_address(text) to ringfence_platform;

-- A number without what people write between its digits; an e-mail address without blanks around it, in lower case.
create function app.suppressed_form(channel text, address text) returns text language sql immutable parallel safe
  return case channel when 'sms' then regexp_replace(address, '[^+0-9]', '', 'g') else lower(app.bare_address(address)) end;
grant execute on function app.suppressed_form(text, text) to ringfence_api, ringfence_dba, ringfence_operator_write, ringfence_platform;

create function app.keep_suppression() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  new.address := app.suppressed_form(new.channel, new.address);
  return new;
end $$;
create trigger keep before insert or update of channel, address on suppressions for each row execute function app.keep_suppression();

-- Those that are there, unless one in this form is, too.
grant select (channel, address), update (address) on suppressions to ringfence_platform;
set role ringfence_platform;
update suppressions s set address = n.address
from (select distinct on (tenant_id, channel, form) id, tenant_id, channel, form as address
  from suppressions, app.suppressed_form(channel, address) as form where address <> form order by tenant_id, channel, form, id) n
where s.id = n.id and not exists (
  select from suppressions o where o.tenant_id = n.tenant_id and o.channel = n.channel and o.address = n.address and o.company_id is not null);
set role ringfence_owner;
revoke select (channel, address), update (address) on suppressions from ringfence_platform;

reset role;
