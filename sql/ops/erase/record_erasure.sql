-- $1 kind   $2 counts
insert into ops.erasures (kind, counts) values ($1, $2)
