-- Numbers come back with the account that they went with, and whoever scheduled a text is told when it fails at Twilio, too.
set role ringfence_owner;

-- The account with whose settings the number was switched off; none of one that was switched off by hand.
alter table phone_numbers add column detached_from text check (length(detached_from) <= 255);
grant update (detached_from) on phone_numbers to ringfence_api;

-- Switches on again the company's numbers that were switched off with its settings of this account, but those that another company
-- uses by now.
create function app.attach_numbers(account text) returns void language plpgsql as $$
declare
  number uuid;
begin
  for number in select n.id from public.phone_numbers n
    where n.detached_from = account and not n.is_active and not n.is_deleted and n.company_id is not null order by n.id loop
    begin
      update public.phone_numbers n set is_active = true, detached_from = null, updated_at = now() where n.id = number;
    exception when unique_violation then
      null;
    end;
  end loop;
end $$;
grant execute on function app.attach_numbers(text) to ringfence_api;

-- As in V0077, and where there is a number that is switched off, the sentence says so.
create or replace function app.sender(given text, rotate boolean, voice boolean, out number text, out id uuid) language plpgsql stable as $$
begin
  select f.number, f.id into number, id from app.find_sender($1, $2, $3) f;
  if number is null then
    raise sqlstate 'RF400' using message = case when given is not null then 'The sender is not one of the company''s phone numbers'
      when exists (select from public.phone_numbers n where not n.is_active and not n.is_deleted and n.company_id is not null)
        then 'No phone number available: switch one on'
      else 'No phone number available: add one or sync them from Twilio' end;
  end if;
end $$;

reset role;

-- As in V0088, and of one that Twilio did not take, or may have taken. What is tried again has no error yet, and who cancelled it
-- while Twilio was asked waits for nothing.
create or replace trigger tell_unsent after update of is_cancelled, error_message on scheduled_sms for each row
  when (new.company_id is not null and not old.is_cancelled and (not old.is_sent or old.error_message is null)
    and (new.is_cancelled or new.is_sent) and new.error_message is not null)
  execute function app.tell_unsent('A text failed', 'The text to %s failed: %s', 'to_address', '/inbox');
