-- The company with an id, or with an unambiguous name; a null id if there is none.   $1 id or name
select id, name from app.find_company($1)
