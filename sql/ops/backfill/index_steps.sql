-- $1 the stage: make, use, restore, drop   $2 minimum number of rows of a table
select app.backfill_index_steps($1, $2)
