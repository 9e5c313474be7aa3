-- $1 file   $2 reason
insert into old_report (table_name, id, action, reason) values ('files', $1, 'changed', $2)
