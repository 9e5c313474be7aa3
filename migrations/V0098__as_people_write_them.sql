-- Numbers with a zero in brackets, addresses in Punycode, numbers that are switched off, and the companies of a call.
set role ringfence_owner;

-- A number without the zero in brackets that callers within its country dial, as in `+44 (0)20 …`; the same rule is in
-- src/telephony.rs. Where the zero belongs to the numbers themselves, it stays: in Italy, San Marino and the Vatican, Ivory Coast,
-- Burkina Faso, Niger, Benin, Gabon and Congo.
create function app.without_trunk_zero(written text) returns text language sql immutable strict parallel safe
  return regexp_replace(written, '^([^0-9]*(?:\+|00)[^0-9]*(?!39|22[5679]|24[12]|37[89])[0-9](?:[^0-9]*[0-9]){0,2}[^0-9]*)\(0\)', '\1');
grant execute on function app.without_trunk_zero(text) to ringfence_api, ringfence_dba, ringfence_operator_write, ringfence_platform;

-- As in V0078, without such a zero.
create or replace function app.e164(written text) returns text language sql immutable strict parallel safe
  return (select case
      when d = '' then null
      when written ~ '^[^0-9]*\+' then '+' || d
      when d like '00%' then '+' || ltrim(d, '0')
      when d like '03%' then '+92' || substr(d, 2)
      when length(d) = 10 then '+1' || d
      else '+' || d end
    from (select regexp_replace(app.without_trunk_zero(written), '\D', '', 'g')) w (d));

-- As in V0078, also with such a zero, behind a country code of one, two or three digits.
create or replace function app.written_digits(number text) returns text[] language sql immutable strict parallel safe
  return (select array[d, '00' || d]
      || case when d ~ '^1\d{10}$' then array[right(d, 10)] when d like '923%' then array['0' || substr(d, 3)] end
      || array(select p || left(d, n) || '0' || substr(d, n + 1) from generate_series(1, 3) n, unnest(array['', '00']) p)
    from (select regexp_replace(number, '\D', '', 'g')) w (d));

-- A label of a domain in Unicode, if it is in Punycode (RFC 3492, 6.2); otherwise, and where it is broken, as it is. `label` is in
-- lower case.
create function app.unicode_label(label text) returns text language plpgsql immutable strict parallel safe as $$
declare
  decoded text := coalesce(substring(label from '^xn--(.*)-[^-]*$'), '');
  rest text := substring(label from '^xn--(?:.*-)?([a-z0-9]{1,59})$');
  point bigint := 128;
  place bigint := 0;
  bias bigint := 72;
  at int := 1;
  before bigint;
  weight bigint;
  step bigint;
  threshold bigint;
  digit bigint;
  delta bigint;
begin
  if rest is null or length(label) > 63 then
    return label;
  end if;
  while at <= length(rest) loop
    before := place;
    weight := 1;
    step := 36;
    loop
      if at > length(rest) or weight > 1000000000 then
        return label;
      end if;
      digit := strpos('abcdefghijklmnopqrstuvwxyz0123456789', substr(rest, at, 1)) - 1;
      at := at + 1;
      place := place + digit * weight;
      threshold := greatest(1, least(26, step - bias));
      exit when digit < threshold;
      weight := weight * (36 - threshold);
      step := step + 36;
    end loop;
    delta := (place - before) / case before when 0 then 700 else 2 end;
    delta := delta + delta / (length(decoded) + 1);
    bias := 0;
    while delta > 455 loop
      delta := delta / 35;
      bias := bias + 36;
    end loop;
    bias := bias + 36 * delta / (delta + 38);
    point := point + place / (length(decoded) + 1);
    place := place % (length(decoded) + 1);
    if point > 1114111 or point between 55296 and 57343 then
      return label;
    end if;
    decoded := left(decoded, place::int) || chr(point::int) || substr(decoded, place::int + 1);
    place := place + 1;
  end loop;
  return decoded;
end $$;
grant execute on function app.unicode_label(text) to ringfence_api, ringfence_dba, ringfence_operator_write, ringfence_platform;

-- As in V0062, a number without a zero for callers within its country, and a domain in Unicode: it is the same in Punycode.
create or replace function app.suppressed_form(channel text, address text) returns text language sql immutable parallel safe
  return case when channel = 'sms' then regexp_replace(app.without_trunk_zero(address), '[^+0-9]', '', 'g')
    when lower(address) ~ '@.*xn--' then (
      select substring(a from '^(.*@)[^@]*$') || string_agg(app.unicode_label(label), '.' order by place)
      from lower(app.bare_address(address)) a, string_to_table(substring(a from '[^@]*$'), '.') with ordinality l (label, place) group by a)
    else lower(app.bare_address(address)) end;

-- As in V0077, but a number that is switched off or deleted is not used for being the settings' own, either.
create or replace function app.find_sender(given text, rotate boolean, voice boolean, out number text, out id uuid) language plpgsql stable as $$
begin
  select n.phone_number, n.id into number, id from public.phone_numbers n
  where n.is_active and not n.is_deleted and n.company_id is not null
    and case when given is not null then n.phone_number = given when voice then n.voice_enabled else n.sms_enabled end
  order by (rotate and n.rotation_enabled) desc, case when rotate and n.rotation_enabled then n.rotation_priority end desc,
    case when rotate and n.rotation_enabled then n.last_used_at end nulls first, n.created_at, n.id
  limit 1;
  if number is null then
    select s.phone_number into number from public.twilio_settings s
    where s.is_active and s.company_id is not null and s.phone_number is not null and (given is null or s.phone_number = given)
      and (select bool_or(n.is_active and not n.is_deleted) from public.phone_numbers n
        where n.phone_number = s.phone_number and n.company_id is not null) is not false;
  end if;
end $$;

create index if not exists twilio_settings_account on twilio_settings (app.global_key(account_sid)) where company_id is not null;
grant select (twilio_sid) on calls to ringfence_platform;

-- The companies that say an account is theirs and have a call of this id in it, and in whose name what is told of it is stored; those
-- first whose account is verified. The account is asked first: calls are found within a company only.
create function app.companies_of_call(account text, call text) returns table (company_id uuid, user_id uuid) language sql stable
  security definer set search_path = pg_catalog, pg_temp
  as $$
    with claim as materialized (
      select s.company_id, s.user_id, s.is_verified, s.created_at from public.twilio_settings s
      where app.global_key(s.account_sid) = app.global_key($1) and s.company_id is not null
    )
    select s.company_id, s.user_id from claim s
    where exists (select from public.calls c where c.tenant_id = s.company_id and c.twilio_sid = $2 and c.company_id is not null)
    order by s.is_verified desc, s.created_at limit 20;
  $$;

reset role;
alter function app.companies_of_call(text, text) owner to ringfence_platform;
grant execute on function app.companies_of_call(text, text) to ringfence_api;

-- What was kept before in another form, unless there is one in this form, too. Of a number that was written with a zero in brackets,
-- the zero is left: it is dropped behind the country codes of which it is known that no number begins with one.
set role ringfence_owner;
grant select (channel, address), update (address) on suppressions to ringfence_platform;
set role ringfence_platform;
update suppressions s set address = n.address
from (select distinct on (tenant_id, channel, form) id, tenant_id, channel, form as address
  from suppressions, app.suppressed_form(channel, case channel
    when 'sms' then regexp_replace(address, '^(\+(?:[17]|2[07]|3[0-46]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]|3(?:5[3589]|7[34]|8[0-35-79])|421|9(?:6[1-46]|7[0-2])))0', '\1') else address end) as form
  where address <> form order by tenant_id, channel, form, id) n
where s.id = n.id and not exists (
  select from suppressions o where o.tenant_id = n.tenant_id and o.channel = n.channel and o.address = n.address and o.company_id is not null);
set role ringfence_owner;
revoke select (channel, address), update (address) on suppressions from ringfence_platform;
reset role;
