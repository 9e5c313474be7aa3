-- Statements that make the logins of operators and staff again, without passwords; a login that is there keeps its own.
with login as (
  select r.oid, r.rolname, r.rolconfig,
    array(select m.roleid::regrole::text from pg_auth_members m
      where m.member = r.oid and m.roleid::regrole::text in ('ringfence_operator', 'ringfence_operator_write', 'ringfence_operator_limited', 'ringfence_staff')) as groups
  from pg_roles r where r.rolcanlogin
)
select string_agg(
  format(E'do $role$ begin if not exists (select from pg_roles where rolname = %L) then create role %I login; end if; end $role$;\n', l.rolname, l.rolname)
    || (select string_agg(format(E'grant %I to %I;\n', g, l.rolname), '') from unnest(l.groups) g)
    || coalesce((select string_agg(format(E'alter role %I set %I = %L;\n', l.rolname, split_part(s, '=', 1), substring(s from position('=' in s) + 1)), '')
        from unnest(l.rolconfig) s), ''), '' order by l.rolname)
from login l
where cardinality(l.groups) > 0
  and (l.rolname in (select db_role from app.operator_grant) or 'ringfence_staff' = any (l.groups))
