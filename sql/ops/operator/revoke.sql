-- $1 name   $2 company
select app.revoke_operator($1::text::name, $2)
