-- Texts and calls leave by numbers of the company, what comes in is heard while its settings are switched off, and times beyond
-- the wire's are shown as the nearest also where SQL writes them.
set role ringfence_owner;

-- As in V0013, but historical numbers and settings are their user's and not the company's.
create or replace function app.sender(given text, rotate boolean, voice boolean, out number text, out id uuid) language plpgsql stable as $$
begin
  select n.phone_number, n.id into number, id from public.phone_numbers n
  where n.is_active and not n.is_deleted and n.company_id is not null
    and case when given is not null then n.phone_number = given when voice then n.voice_enabled else n.sms_enabled end
  order by (rotate and n.rotation_enabled) desc, case when rotate and n.rotation_enabled then n.rotation_priority end desc,
    case when rotate and n.rotation_enabled then n.last_used_at end nulls first, n.created_at, n.id
  limit 1;
  if number is null then
    select s.phone_number into number from public.twilio_settings s
    where s.is_active and s.company_id is not null and s.phone_number is not null and (given is null or s.phone_number = given);
  end if;
  if number is null then
    raise sqlstate 'RF400' using message = case when given is null then 'No phone number available: add one or sync them from Twilio'
      else 'The sender is not one of the company''s phone numbers' end;
  end if;
end $$;

-- A time as the wire has it; one beyond the first and the last that it can tell is shown as those (src/wire.rs).
create function app.wire_time("time" timestamptz) returns text language sql stable parallel safe strict
  return regexp_replace(to_char(greatest(least($1, timestamptz '9999-12-30 22:00Z'), timestamptz '0001-01-01 00:00Z') at time zone 'UTC',
    'YYYY-MM-DD"T"HH24:MI:SS.US'), '\.0+$', '');
grant execute on function app.wire_time(timestamptz) to ringfence_api;

-- As in V0010, with days of four digits for a year. No day is without end.
create or replace view quote_card with (security_invoker = true) as
  select q.id, q.quote_number, q.title, q.amount::float8 as amount, q.status, q.client_id, q.deal_id, q.owner_id,
    case when isfinite(q.valid_until) then greatest(least(q.valid_until, date '9999-12-31'), date '0001-01-01')::text end as valid_until,
    q.description, q.terms, q.notes, q.sent_at, q.accepted_at,
    (select coalesce(jsonb_agg(jsonb_build_object('description', l.description, 'quantity', l.quantity::float8, 'unit_price', l.unit_price,
       'tax', l.tax::float8, 'discount', l.discount::float8) order by l.position), '[]')
     from public.quote_lines l where l.quote_id = q.id) as line_items,
    q.created_at, q.updated_at, q.is_deleted
  from public.quotes q;

reset role;

-- As in V0044, but whose settings are switched off is asked, too: behind those of the same account who have them on, also if these
-- are not verified.
create or replace function app.companies_of_number(number text, account text) returns table (company_id uuid, user_id uuid) language sql stable
  security definer set search_path = pg_catalog, pg_temp
  begin atomic
    select said.company_id, said.user_id from (
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
    ) said
    order by said.is_account desc, said.is_on desc, said.is_verified desc, said.is_number desc, said.created_at
    limit 20;
  end;
