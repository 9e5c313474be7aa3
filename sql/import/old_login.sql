-- Run in the old database.
select quote_ident(current_user) as login, getdatabaseencoding()::text as encoding,
  (select has_schema_privilege(n.oid, 'usage') from pg_namespace n where n.nspname = 'public') is true as may_enter
