-- All of it was told.
delete from ops.import_report
