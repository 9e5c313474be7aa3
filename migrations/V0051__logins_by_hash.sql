-- A login takes a while, for which its password may be changed: then it is none, and brings back no older hash.
set role ringfence_owner;

-- Notes a login by this hash, which is replaced when it is of an older kind; false when it is another one by now.
create function app.logged_in(user_id uuid, verified text, rehashed text) returns boolean language sql
  security definer set search_path = pg_catalog, pg_temp
  begin atomic
    with replaced as (
      update app.credentials k set password_hash = $3 where k.user_id = $1 and k.password_hash = $2 and $3 is not null returning k.user_id
    ), same as (
      select r.user_id from replaced r
      union all select k.user_id from app.credentials k where k.user_id = $1 and k.password_hash = $2 and $3 is null
    ), noted as (
      update public.users u set last_login = now() from same where u.id = same.user_id
    )
    select exists (select from same);
  end;

reset role;
alter function app.logged_in(uuid, text, text) owner to ringfence_platform;
grant execute on function app.logged_in(uuid, text, text) to ringfence_api;
