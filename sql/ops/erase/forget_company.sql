-- $1 company
delete from companies where id = $1
