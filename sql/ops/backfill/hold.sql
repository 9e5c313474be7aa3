-- $1 whether this is an undo, which excludes runs; held as long as this connection lasts
select app.hold_backfill($1)
