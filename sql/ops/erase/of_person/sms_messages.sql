-- $1 tenant   $2 contact   $3 number, in E.164
select t as id from ops.texts_of_person($1, $2, $3) t
