select count(*) from pg_class c where c.relkind in ('r', 'p', 'v') and c.relpersistence <> 't' and c.relnamespace::regnamespace::text not in ('pg_catalog', 'information_schema', 'pg_toast')
