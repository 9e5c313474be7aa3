-- $1 the stage: make, use, restore, drop   $2 from how many rows of a table on
select app.backfill_index_steps($1, $2)
