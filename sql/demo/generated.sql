-- The number of companies whose names begin with this prefix.
select count(*) from companies where starts_with(name, $1)
