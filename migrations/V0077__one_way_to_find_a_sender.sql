-- Whether a number is one of the company's to send from is said once: for what is sent, and for a conversation that goes on.
set role ringfence_owner;

-- The number by which the company sends: `given`, if it is one of its own, or the next where none is given. Null where there is none.
create function app.find_sender(given text, rotate boolean, voice boolean, out number text, out id uuid) language plpgsql stable as $$
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
end $$;
grant execute on function app.find_sender(text, boolean, boolean) to ringfence_api;

-- The same, or a sentence.
create or replace function app.sender(given text, rotate boolean, voice boolean, out number text, out id uuid) language plpgsql stable as $$
begin
  select f.number, f.id into number, id from app.find_sender($1, $2, $3) f;
  if number is null then
    raise sqlstate 'RF400' using message = case when given is null then 'No phone number available: add one or sync them from Twilio'
      else 'The sender is not one of the company''s phone numbers' end;
  end if;
end $$;

reset role;
