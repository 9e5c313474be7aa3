-- $1 name   $2 company
select app.grant_operator($1::text::name, $2)
