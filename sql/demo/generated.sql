-- How many companies have a name that begins so.
select count(*) from companies where starts_with(name, $1)
