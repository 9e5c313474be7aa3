-- $1 company
insert into old_report (table_name, id, action, reason)
values ('companies', $1, 'noted', 'credentials in the company''s own row, which the old backend did not use, are not brought over')
