-- The role with which commands work across companies must see all of them.
select 'ringfence_dba does not bypass row-level security' as finding, 'a superuser must run "alter role ringfence_dba bypassrls"' as remedy
from pg_roles where rolname = 'ringfence_dba' and not rolbypassrls
