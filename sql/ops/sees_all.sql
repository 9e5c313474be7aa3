-- Whether this login sees all companies' rows.
select rolsuper or rolbypassrls or pg_has_role(oid, 'ringfence_platform', 'usage') from pg_roles where rolname = current_user
