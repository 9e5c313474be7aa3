-- Whether no row of any company is hidden from this login.
select rolsuper or rolbypassrls or pg_has_role(oid, 'ringfence_platform', 'usage') from pg_roles where rolname = current_user
