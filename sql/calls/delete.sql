-- $1 id
delete from calls where id = $1 returning id
