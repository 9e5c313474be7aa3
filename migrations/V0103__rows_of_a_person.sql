-- The mails and texts of a person who is erased, on which other rows depend: their files, their conversations, what workflows did.
set role ringfence_owner;

-- The contact's mails, and mails without a contact that came from the address or went to nobody else.
-- `address` is in lower case.
create function ops.mails_of_person(tenant uuid, contact uuid, address text) returns setof uuid language sql stable as $$
  select e.id from public.emails e
  where e.tenant_id = $1 and (e.contact_id = $2 or e.contact_id is null and strpos(lower(e.from_email || e.to_email), $3) > 0
    and array[$3] @> (select array_agg(m.address)
      from app.mailboxes(case e.direction when 'inbound' then e.from_email else e.to_email end) m))
$$;

-- The contact's texts, and texts without a contact from or to the number, however it is written. `number` is in E.164.
create function ops.texts_of_person(tenant uuid, contact uuid, number text) returns setof uuid language sql stable as $$
  select m.id from public.sms_messages m
  where m.tenant_id = $1 and (m.contact_id = $2
    or m.contact_id is null and $3 in (app.e164(m.from_address), app.e164(m.to_address)))
$$;

revoke execute on function ops.mails_of_person(uuid, uuid, text), ops.texts_of_person(uuid, uuid, text) from public;
grant execute on function ops.mails_of_person(uuid, uuid, text), ops.texts_of_person(uuid, uuid, text) to ringfence_dba;

reset role;
