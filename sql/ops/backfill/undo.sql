-- Makes the rows historical again that a backfill gave their company, from its record; not while a run goes on. First: set role ringfence_dba.
call app.undo_backfill();
