-- Rights that row-level security does not cover, or that would let a row change its company, held by the API's login,
-- operators, the platform's staff, or any of their logins.
with held as (
  select r.oid, r.rolname, r.rolname = 'ringfence_api' as is_api,
    not r.rolsuper and pg_has_role(r.oid, 'ringfence_staff', 'member') as is_staff,
    not r.rolsuper and pg_has_role(r.oid, 'ringfence_operator_write', 'member') as is_writer,
    not r.rolsuper and pg_has_role(r.oid, 'ringfence_operator_limited', 'member') as is_limited
  from pg_roles r where r.rolname = 'ringfence_api' or not r.rolsuper and exists (
    select from unnest(array['ringfence_operator', 'ringfence_operator_limited', 'ringfence_staff']) g where pg_has_role(r.oid, g, 'member'))
), target as (
  select c.oid, c.relkind, c.relnamespace::regnamespace::text as home, c.oid::regclass::text as name from pg_class c
  where c.relkind in ('r', 'p', 'v', 'm', 'f') and c.relnamespace::regnamespace::text not in ('pg_catalog', 'information_schema', 'pg_toast')
)
select format('%s has %s on %s', r.rolname, right_name, t.name) as finding, 'revoke it' as remedy
from held r, target t, unnest(array['truncate', 'references', 'trigger']) as right_name where has_table_privilege(r.oid, t.oid, right_name)
union all
select format('%s may update %s of %s', r.rolname, a.attname, t.name), 'grant update by column, without id, tenant_id, company_id'
from held r, target t join pg_attribute a on a.attrelid = t.oid where a.attname in ('id', 'tenant_id', 'company_id') and has_column_privilege(r.oid, t.oid, a.attnum, 'update')
union all
-- The server reads the object that a file's row names.
select format('%s may %s %s of %s', r.rolname, right_name, a.attname, t.name), 'revoke it: see app.writable_columns'
from held r, unnest(array['insert', 'update']) as right_name, target t join pg_attribute a on a.attrelid = t.oid and a.attname in ('object_key', 'sha256', 'size')
where t.name = 'files' and not (r.is_api and right_name = 'insert') and has_column_privilege(r.oid, t.oid, a.attnum, right_name)
union all
-- Functions write identities, a trigger writes the audit log, and `app` has what nobody may read.
select format('%s has %s on %s', r.rolname, right_name, t.name), 'revoke it'
from held r, target t, unnest(array['select', 'insert', 'update', 'delete']) as right_name
where has_any_column_privilege(r.oid, t.oid, case right_name when 'delete' then 'select' else right_name end)
  and (right_name <> 'delete' or has_table_privilege(r.oid, t.oid, 'delete'))
  and case
    when t.name in ('companies', 'users', 'members') then right_name in ('insert', 'delete') when t.name = 'audit_log' then right_name <> 'select'
    when t.home = 'app' then not (right_name = 'select' and (t.name = 'app.protected_table' or r.is_api and t.name in ('app.caller', 'app.company_card')))
    when t.home = 'public' then t.name = 'refinery_schema_history' and not (r.is_api and right_name = 'select')
    else true end
union all
-- Operators who write may not delete, because that right includes locking a table for all; others only read.
select format('%s has %s on %s', r.rolname, right_name, t.name), 'revoke it'
from held r, target t, unnest(array['insert', 'update', 'delete']) as right_name
where not r.is_api and t.home = 'public'
  and case right_name when 'delete' then has_table_privilege(r.oid, t.oid, 'delete')
    else not r.is_writer and has_any_column_privilege(r.oid, t.oid, right_name) end
union all
select format('%s may read all of %s', r.rolname, t.name), 'revoke it, and grant columns in sql/platform/operators.sql'
from held r, target t where r.is_limited and t.home = 'public' and has_table_privilege(r.oid, t.oid, 'select')
union all
select format('%s may read %s', r.rolname, t.name), 'revoke it: what staff see are functions'
from held r, target t where r.is_staff and has_any_column_privilege(r.oid, t.oid, 'select')
union all
select format('everybody has %s on %s', x.privilege_type, t.name), 'revoke it from public'
from target t join pg_class c on c.oid = t.oid, aclexplode(c.relacl) x where x.grantee = 0
union all
select format('%s may create in schema %s', r.rolname, n.nspname), 'revoke create on the schema'
from held r, pg_namespace n where n.nspname not like 'pg\_%' and has_schema_privilege(r.oid, n.oid, 'create')
union all
select format('%s may use schema leakproof', r.rolname), 'revoke usage: its operator sees rows before the policies do'
from held r where not r.is_api and has_schema_privilege(r.oid, 'leakproof', 'usage')
union all
select format('%s may %s in this database', r.rolname, right_name), format('revoke %s on database %I from public', right_name, current_database())
from held r, unnest(array['create', 'temporary']) as right_name where has_database_privilege(r.oid, current_database(), right_name)
order by 1
