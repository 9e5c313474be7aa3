select distinct table_name, id::text, action, reason from old_report order by 1, 3, 4, 2
