-- The company of an id, or of a name that says which is meant; no id where there is none.   $1 id or name
select id, name from app.find_company($1)
