-- What a person has said of an address outweighs what others say of it.
set role ringfence_owner;

-- An entry has the weightiest reason that is known, and remembers that an admin has entered the address, too.
alter table suppressions add column also_admin boolean not null default false;
grant update (also_admin) on suppressions to ringfence_api;

-- What the person has said, to the company, the provider or the carrier, weighs more than a mail that came back, and that more than an
-- admin's entry: who lifts an entry knows what they lift.
create function app.reason_weight(reason text) returns int language sql immutable parallel safe
  return case reason when 'admin' then 0 when 'bounce' then 1 else 2 end;

-- Keeps the company from writing to an address for a reason that was heard of, in the name of a user; nothing when the address is listed
-- for a reason that weighs as much.
create function app.suppress(channel text, address text, reason text, user_id uuid) returns void language sql
  begin atomic
    insert into public.suppressions as s (channel, address, reason, user_id) values ($1, $2, $3, $4)
    on conflict (tenant_id, channel, address) where company_id is not null do update
      set reason = excluded.reason, also_admin = s.also_admin or s.reason = 'admin'
      where app.reason_weight(excluded.reason) > app.reason_weight(s.reason);
  end;
grant execute on function app.reason_weight(text), app.suppress(text, text, text, uuid) to ringfence_api;

reset role;

create or replace trigger audit after insert or delete or update of channel, address, reason, also_admin on suppressions
  for each row execute function app.keep_audit_log('channel', 'address', 'reason', 'also_admin');
