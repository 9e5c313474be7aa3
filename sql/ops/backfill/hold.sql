-- $1 whether it is an undo, which no run goes beside. As long as this connection lasts
select app.hold_backfill($1)
