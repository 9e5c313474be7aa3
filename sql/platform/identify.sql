-- $1 files, of which it is asked whether the database has one
select id, has_one from app.identify($1)
