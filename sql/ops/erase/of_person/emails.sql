-- $1 tenant   $2 contact   $3 address, lower-cased
select m as id from ops.mails_of_person($1, $2, $3) m
