-- The tables with rows of companies, except `members`. Rows that triggers derive from them come and go with them.
select p.table_name from app.protected_table p
union select 'notifications'
order by 1
