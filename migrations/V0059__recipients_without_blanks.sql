-- Blanks around an address are none of it, and whoever sends leaves them out: so does what looks for those who want no mail.
set role ringfence_owner;

-- Whether a company may not write to an address. It is trimmed as by ops.bare_address, which is for administrators alone.
create or replace function app.is_suppressed(channel text, address text) returns boolean language sql stable
  return exists (select from public.suppressions s where s.channel = $1 and s.address = lower(btrim($2, E' \t\n\f\r\u00a0')));

create or replace function app.keep_email() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  address text;
begin
  foreach address in array string_to_array(concat_ws(',', new.to_email, new.cc, new.bcc), ',') loop
    if app.is_suppressed('email', address) then
      raise sqlstate 'RF400' using message = 'One of the recipients has unsubscribed or cannot be reached';
    end if;
  end loop;
  return new;
end $$;

reset role;
