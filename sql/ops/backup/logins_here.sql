-- The logins of a backup ($1) on this server. On another server, `statements` creates the missing ones; on the same
-- one, a missing login was removed and stays so. `is_theirs`: the login gets its companies in the backup. A login that
-- is another role, or has other rights (`differs`), is left unchanged.
with server as (
  select $1::text::jsonb ->> 'server' = (select system_identifier::text from pg_control_system()) as is_same
)
select l.name::text as name, case when s.is_same then coalesce(r.oid = l.oid, false) else r.oid is null end as is_theirs,
  r.oid is not null and l.groups <> array(select m.roleid::regrole::text from pg_auth_members m
    where m.member = r.oid and m.roleid::regrole::text in ('ringfence_operator', 'ringfence_operator_write', 'ringfence_operator_limited', 'ringfence_staff')
    order by 1) as differs,
  case when not s.is_same and r.oid is null then format('create role %I login connection limit %s;', l.name, coalesce(l.connections,
      case when l.groups = array['ringfence_staff'] then -1 else 10 end))
    || (select string_agg(format(' grant %I to %I;', g, l.name), '') from unnest(l.groups) g)
    || coalesce((select string_agg(format(' alter role %I set %I = %L;', l.name, split_part(c, '=', 1), substring(c from position('=' in c) + 1)), '')
        from unnest(l.settings) c), '') end as statements
from server s, jsonb_to_recordset($1::text::jsonb -> 'logins') as l (name name, oid oid, groups text[], settings text[], connections int)
left join pg_roles r on r.rolname = l.name
order by 1
