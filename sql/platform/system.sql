-- Which database server this is, the same on its standbys, and of what version.
select system_identifier::text as system, current_setting('server_version_num')::int as version from pg_control_system()
