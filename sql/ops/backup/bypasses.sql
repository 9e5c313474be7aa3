-- Whether this login sees every row, and may say of which moment they are.
select (rolsuper or rolbypassrls) and has_function_privilege('pg_export_snapshot()', 'execute') from pg_roles where rolname = current_user
