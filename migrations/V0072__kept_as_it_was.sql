-- Whose a historical record stays.
set role ringfence_owner;

-- Nobody but its user sees a historical record, so whoever got it would not have it.
create function app.next_owner(id uuid, is_historical boolean) returns uuid language plpgsql stable strict parallel safe as $$
begin
  perform app.found_owner($1);
  if is_historical then
    raise sqlstate 'RF400' using message = 'This contact has no company yet: only you see it, and it cannot be given away';
  end if;
  return $1;
end $$;
grant execute on function app.next_owner(uuid, boolean) to ringfence_api;

reset role;
