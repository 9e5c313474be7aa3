-- $1 files, to find out whether the database has any of them
select i.id, i.has_one, app.had_store() as had_store from app.identify($1) i
