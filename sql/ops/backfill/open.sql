-- $1 parts of each table
select app.open_backfill($1)
