-- Makes the rows that a backfill recorded historical again; not during a run. First: set role ringfence_dba.
call app.undo_backfill();
