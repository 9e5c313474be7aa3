-- $1 files, to find out whether the database has any of them
select id, has_one from app.identify($1)
