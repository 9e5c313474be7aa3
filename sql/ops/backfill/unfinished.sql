-- Tables whose rows may still lack a company.
select p.table_name from app.protected_table p
join pg_attribute a on a.attrelid = p.target::oid and a.attname = 'company_id' and not a.attnotnull order by 1
