-- The tables with rows of companies, except `members`; tables that refer to others come first.
select target::text as name, of_itself from app.tenant_tables()
