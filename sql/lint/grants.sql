-- Rights that row-level security does not cover, or that would let a row change its company.
with role as (
  select rolname from pg_roles where rolname in ('ringfence_api', 'ringfence_operator')
), target as (
  select c.oid, c.relkind from pg_class c
  where c.relkind in ('r', 'p', 'v', 'm', 'f') and c.relnamespace in ('public'::regnamespace, 'app'::regnamespace)
)
select format('%s has %s on %s', r.rolname, right_name, t.oid::regclass) as finding, 'revoke it' as remedy
from role r, target t, unnest(array['truncate', 'references', 'trigger']) as right_name
where has_table_privilege(r.rolname, t.oid, right_name)
union all
select format('%s may update %s of %s', r.rolname, a.attname, t.oid::regclass), 'grant update by column, without id, tenant_id, company_id'
from role r, target t join pg_attribute a on a.attrelid = t.oid and a.attname in ('id', 'tenant_id', 'company_id')
where has_column_privilege(r.rolname, t.oid, a.attnum, 'update')
union all
select format('everybody has %s on %s', x.privilege_type, t.oid::regclass), 'revoke it from public'
from target t join pg_class c on c.oid = t.oid, aclexplode(c.relacl) x
where x.grantee = 0
union all
select format('%s may create in schema %s', r.rolname, n.nspname), 'revoke create on the schema'
from role r, pg_namespace n
where n.nspname in ('public', 'app', 'leakproof') and has_schema_privilege(r.rolname, n.oid, 'create')
union all
select format('%s may %s in this database', r.rolname, right_name), format('revoke %s on database %I from public', right_name, current_database())
from role r, unnest(array['create', 'temporary']) as right_name
where has_database_privilege(r.rolname, current_database(), right_name)
order by 1
