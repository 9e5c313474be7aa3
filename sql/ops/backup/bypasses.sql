select rolsuper or rolbypassrls from pg_roles where rolname = current_user
