-- $1 parts of each table   $2 whether a run begins, and does not go on
select app.open_backfill($1, $2)
