-- What a request names beside its own record: its id, null when none is named, or a refusal. A sub-select in the statement would be
-- set up with its table's policies each time, though most requests name nothing.
set role ringfence_owner;

create function app.found_contact(id uuid, what text default 'Contact') returns uuid language plpgsql stable strict parallel safe as $$
begin
  return app.found(what, $1, (select c.id from public.contacts c where c.id = $1 and not c.is_deleted));
end $$;

create function app.found_deal(id uuid) returns uuid language plpgsql stable strict parallel safe as $$
begin
  return app.found('Deal', $1, (select d.id from public.deals d where d.id = $1 and not d.is_deleted));
end $$;

-- The lock keeps it from being deleted before the file is in it.
create function app.found_folder(id uuid) returns uuid language plpgsql strict as $$
begin
  return app.found('Folder', $1, (select f.id from public.folders f where f.id = $1 and not f.is_deleted for share));
end $$;

-- Who may be given a record: those who wait for an admin's approval may not.
create function app.found_owner(id uuid) returns uuid language plpgsql stable strict parallel safe as $$
begin
  return app.found('Owner', $1, (select u.id from public.users u where u.id = $1 and not u.is_deleted and u.status <> 'pending'));
end $$;

grant execute on function app.found_contact(uuid, text), app.found_deal(uuid), app.found_folder(uuid), app.found_owner(uuid) to ringfence_api;

reset role;
