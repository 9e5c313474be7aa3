-- $1 id
delete from suppressions where id = $1 returning id
