-- What the audit log says of a person: of their accounts, and wherever it has their address.
-- $1 address, lower-cased   $2 users   $3 tenants
update audit_log set before = null, after = null
where table_name = 'users' and record_id = any ($2)
  or (tenant_id = any ($3) or company_id is null) and (ops.names(before, $1) or ops.names(after, $1))
