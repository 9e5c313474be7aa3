-- A folder that is saved where it is may be in a deleted one. It takes the same locks in the same order as one that moves: those
-- of whoever moves it at the moment would otherwise be met the other way round.
set role ringfence_owner;

create or replace function app.new_parent(folder_id uuid, parent_id uuid) returns uuid language plpgsql as $$
begin
  perform app.lock_name('folders', '');
  if parent_id is null or exists (select from public.folders f where f.id = $1 and f.parent_id = $2) then
    return parent_id;
  end if;
  perform from public.folders f where f.id = $2 and not f.is_deleted;
  if not found then
    raise sqlstate 'RF404' using message = 'Folder';
  end if;
  if exists (
    with recursive above as (
      select f.id, f.parent_id from public.folders f where f.id = $2
      union select f.id, f.parent_id from public.folders f join above a on f.id = a.parent_id
    )
    select from above a where a.id = $1
  ) then
    raise sqlstate 'RF400' using message = 'A folder cannot be moved into itself or one of its subfolders';
  end if;
  return parent_id;
end $$;

reset role;
