-- Makes the rows historical again that a backfill gave their company, from its record. First: set role ringfence_dba.
call app.undo_backfill();
