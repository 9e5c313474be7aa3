-- $1 name
select id from companies where name = $1
