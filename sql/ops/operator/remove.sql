-- $1 name
select app.remove_operator($1::text::name)
