-- The tables with rows of companies, but for `members`. What triggers derive from them comes and goes with them.
select p.table_name from app.protected_table p
union select 'notifications'
order by 1
