-- $1 parts of each table   $2 whether this is a new run, and not one that is resumed
select app.open_backfill($1, $2)
