-- $1 user   $2 action   $3 reason
insert into old_report (table_name, id, action, reason) values ('users', $1, $2, $3)
