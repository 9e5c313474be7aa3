-- The operators who would have no company without this one.
-- $1 company
select g.db_role::text as name from app.operator_grant g join pg_roles r on r.oid = g.role_oid and r.rolname = g.db_role
where g.company_id = $1 and not exists (
  select from app.operator_grant o where o.db_role = g.db_role and o.role_oid = g.role_oid and o.granted_company_id <> g.company_id)
order by 1
