-- The tables with rows of companies, but for `members`, those that refer to others before these.
select target::text as name, of_itself from app.tenant_tables()
