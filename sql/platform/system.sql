-- The identity of the database server, which its standbys share, and its version.
select system_identifier::text as system, current_setting('server_version_num')::int as version from pg_control_system()
