-- Removes a person from the audit log: entries on their accounts, and their address everywhere. Returns where.
-- $1 address, lower-cased   $2 users   $3 tenants   $4 false to change nothing
with found as (
  select a.id from audit_log a
  where a.table_name = 'users' and a.record_id = any ($2)
    or (a.tenant_id = any ($3) or a.company_id is null) and (ops.names(a.before, $1) or ops.names(a.after, $1))
), cleared as (
  update audit_log a set before = null, after = null from found where $4 and a.id = found.id
)
select id from found
